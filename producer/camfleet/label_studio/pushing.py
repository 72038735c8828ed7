"""A job's results are pushed into a project: as predictions of its tasks, or as new tasks.

What the project has is looked at first, so a push that was cut off goes on where it ended, and one
that is repeated does nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from camfleet.exports.images import Failure, Image
from camfleet.exports.label_studio import ITEM
from camfleet.label_studio.api import Api
from camfleet.label_studio.writing import SLICE, Batch, PredictionWriter

NEW_SLICE = 500  # tasks that are made at once
Found = Iterable[tuple[Image | Failure, Mapping[str, Any] | None]]


@dataclass
class Pushed:
    """What a push did, counted by images."""

    made: int = 0  # new tasks
    written: int = 0  # predictions of tasks that were there
    there: int = 0  # which had one of this version
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A task that the project has."""

    task: int
    item: str | None  # of the job that it was pushed from
    has: bool  # a prediction of the version


class Pusher:
    """Pushes into one project, predictions of one version; `key` names the image in a task."""

    def __init__(self, api: Api, project: int, key: str, version: str) -> None:
        self.pushed = Pushed()
        self._api = api
        self._project = project
        self._key = key
        self._version = version
        self._on_images: Callable[[int], object] = bool
        self._known: dict[str, list[_Known]] = {}

    def look(self, on_tasks: Callable[[int], object] = bool) -> None:
        """Find out what the project has; tell how many more tasks were looked at."""
        for task in self._api.tasks(self._project):
            place, item = task.data.get(self._key), task.data.get(ITEM)
            if isinstance(place, str):
                has = self._api.has_version(task, self._version)
                known = _Known(task.id, item if isinstance(item, str) else None, has)
                self._known.setdefault(place, []).append(known)
            on_tasks(1)

    def push(self, found: Found, on_images: Callable[[int], object] = bool) -> None:
        """Push images, and tell how many more are done; raises what the API raises."""
        self._on_images = on_images
        new: Batch[dict[str, Any]] = Batch(NEW_SLICE)
        old: Batch[tuple[int, Mapping[str, Any]]] = Batch(SLICE)
        for image, prediction in found:
            if isinstance(image, Failure):
                self.pushed.failed += 1
                self._on_images(1)
                continue
            known = self._take(image)
            if known is None:
                self._make(new.add(self._task(image, prediction)))
            elif known.has or prediction is None:
                self.pushed.there += 1
                self._on_images(1)
            else:
                self._write(old.add((known.task, prediction)))
        self._make(new.rest())
        self._write(old.rest())

    def _take(self, image: Image) -> _Known | None:
        """Return the task of an image and item, else one of the image; no task is for two items."""
        there = self._known.get(image.place)
        if not there:
            return None
        own = (place for place, known in enumerate(there) if known.item == image.item_id)
        nobodys = (place for place, known in enumerate(there) if known.item is None)
        return there.pop(next(own, next(nobodys, 0)))

    def _task(self, image: Image, prediction: Mapping[str, Any] | None) -> dict[str, Any]:
        data = {self._key: image.place, ITEM: image.item_id}
        return {"data": data, "predictions": [prediction] if prediction else []}

    def _make(self, tasks: list[dict[str, Any]]) -> None:
        if tasks:
            self._api.import_tasks(self._project, tasks)
            self.pushed.made += len(tasks)
            self._on_images(len(tasks))

    def _write(self, predictions: list[tuple[int, Mapping[str, Any]]]) -> None:
        if predictions:
            writer = PredictionWriter(self._api, self._project, self._version)
            writer.write(predictions)
            self.pushed.written += writer.count.written
            self.pushed.there += writer.count.there
            self._on_images(len(predictions))
