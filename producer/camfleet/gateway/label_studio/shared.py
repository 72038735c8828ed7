"""What all requests of Label Studio share; made once for a process."""

from collections.abc import Mapping
from pathlib import Path

from camfleet.gateway.access.turns import Turns
from camfleet.gateway.label_studio.plans import Planner
from camfleet.gateway.label_studio.recent import Recent
from camfleet.label_studio.places import Server, TaskImages, origins_of
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet.storage.storage import Storage

_LARGE = 3  # bodies that are decoded at a time, of an owner two


class Backend:
    """What all requests of Label Studio share."""

    def __init__(self, settings: Settings, storage: Storage, labels: Mapping[str, Path]) -> None:
        self.url = settings.label_studio_url
        self.planner = Planner(Registry(storage), labels)
        origins = filter(None, map(str.strip, settings.label_studio_origins.split(",")))
        self.images = TaskImages(Server(self.url), origins_of(origins))
        self.recent = Recent()
        self.bodies = Turns(_LARGE)
