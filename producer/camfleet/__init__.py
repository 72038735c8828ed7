"""camfleet: explain image classifiers at queue scale (the producer's side; light to import)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camfleet.broker.progress import Progress
    from camfleet.client import Client
    from camfleet.contract.outputs import Outputs
    from camfleet.contract.records import Item
    from camfleet.contract.results import Result, Status
    from camfleet.errors import CallerError, CamfleetError, ServiceError
    from camfleet.interactive.answer import Answer
    from camfleet.jobs.job import Job
    from camfleet.settings import Settings

    __version__: str

_HOMES = {
    "Answer": "interactive.answer",
    "CallerError": "errors",
    "CamfleetError": "errors",
    "Client": "client",
    "Item": "contract.records",
    "Job": "jobs.job",
    "Outputs": "contract.outputs",
    "Progress": "broker.progress",
    "Result": "contract.results",
    "ServiceError": "errors",
    "Settings": "settings",
    "Status": "contract.results",
}

__all__ = [
    "Answer",
    "CallerError",
    "CamfleetError",
    "Client",
    "Item",
    "Job",
    "Outputs",
    "Progress",
    "Result",
    "ServiceError",
    "Settings",
    "Status",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it's asked for, so that `camfleet --help` answers at once."""
    if name == "__version__":
        from importlib.metadata import version

        return version("camfleet")
    if name in _HOMES:
        return getattr(import_module(f"camfleet.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'camfleet' has no attribute {name!r}")
