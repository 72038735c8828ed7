"""camfleet: explain image classifiers at queue scale (the producer's side; light to import)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camfleet.aio.answer import AsyncAnswer
    from camfleet.aio.client import AsyncClient, AsyncModels, AsyncPictures
    from camfleet.aio.job import AsyncJob
    from camfleet.aio.reviews import AsyncReviews
    from camfleet.broker.heartbeats import WorkerState
    from camfleet.broker.progress import Progress
    from camfleet.client import Client
    from camfleet.contract.follow_ups import FollowUp
    from camfleet.contract.geometry import Focus, Geometry, Region
    from camfleet.contract.outputs import Drawing, Outputs, Regions
    from camfleet.contract.records import Item, LeftOut, ModelRef
    from camfleet.contract.results import LayerMap, Result, Status, Timings
    from camfleet.contract.reviews import Review, ReviewChange, ReviewVerdict
    from camfleet.errors import (
        AccessDenied,
        AnswerTimeout,
        BrokerDamaged,
        BrokerUnavailable,
        CallerError,
        CamfleetError,
        ConfigurationError,
        DigestMismatch,
        GoldenMismatch,
        ImageError,
        ImageNotFound,
        ImageTooLarge,
        ImageTooSlow,
        ImageUnreadable,
        InternalError,
        InvalidCard,
        InvalidRequest,
        JobDamaged,
        LayerRefused,
        MethodRefused,
        ModelBroke,
        ModelRefused,
        NonFiniteOutput,
        ObjectChanged,
        ObjectDamaged,
        ObjectMissing,
        ObjectTooLarge,
        OperationUnsupported,
        PrecisionRefused,
        ResultsPruned,
        ServiceError,
        SourceForbidden,
        SourceUnreachable,
        StackError,
        StorageUnavailable,
        UnknownJob,
        UnknownModel,
        UnknownTarget,
        UnsupportedModelFile,
        WorkerBusy,
        WorkerKilled,
    )
    from camfleet.exports.job import Exported, ExportOptions
    from camfleet.interactive.answer import Answer
    from camfleet.jobs.dry_run import DryRun
    from camfleet.jobs.forgotten import ForgottenJob
    from camfleet.jobs.job import Job
    from camfleet.jobs.options import ExplainOptions, JobOptions
    from camfleet.jobs.recovery import Verification
    from camfleet.jobs.retention.freed import Retired
    from camfleet.jobs.reviews.looking import ReviewStatus
    from camfleet.jobs.reviews.reviews import Reviews
    from camfleet.jobs.stored import StoredJob
    from camfleet.pictures.files import Saved
    from camfleet.pictures.pictures import Pictures
    from camfleet.registry.changes import ModelChange
    from camfleet.registry.editor import Promoted
    from camfleet.registry.registry import ModelEntry, ModelVersion
    from camfleet.registry.removal import Removed
    from camfleet.results.query import Filters
    from camfleet.settings import Settings

    __version__: str

_HOMES = {
    "aio.answer": ("AsyncAnswer",),
    "aio.client": ("AsyncClient", "AsyncModels", "AsyncPictures"),
    "aio.job": ("AsyncJob",),
    "aio.reviews": ("AsyncReviews",),
    "broker.heartbeats": ("WorkerState",),
    "broker.progress": ("Progress",),
    "client": ("Client",),
    "contract.follow_ups": ("FollowUp",),
    "contract.geometry": ("Focus", "Geometry", "Region"),
    "contract.outputs": ("Drawing", "Outputs", "Regions"),
    "contract.records": ("Item", "LeftOut", "ModelRef"),
    "contract.results": ("LayerMap", "Result", "Status", "Timings"),
    "contract.reviews": ("Review", "ReviewChange", "ReviewVerdict"),
    "errors": (
        "AccessDenied",
        "AnswerTimeout",
        "BrokerDamaged",
        "BrokerUnavailable",
        "CallerError",
        "CamfleetError",
        "ConfigurationError",
        "DigestMismatch",
        "GoldenMismatch",
        "ImageError",
        "ImageNotFound",
        "ImageTooLarge",
        "ImageTooSlow",
        "ImageUnreadable",
        "InternalError",
        "InvalidCard",
        "InvalidRequest",
        "JobDamaged",
        "LayerRefused",
        "MethodRefused",
        "ModelBroke",
        "ModelRefused",
        "NonFiniteOutput",
        "ObjectChanged",
        "ObjectDamaged",
        "ObjectMissing",
        "ObjectTooLarge",
        "OperationUnsupported",
        "PrecisionRefused",
        "ResultsPruned",
        "ServiceError",
        "SourceForbidden",
        "SourceUnreachable",
        "StackError",
        "StorageUnavailable",
        "UnknownJob",
        "UnknownModel",
        "UnknownTarget",
        "UnsupportedModelFile",
        "WorkerBusy",
        "WorkerKilled",
    ),
    "exports.job": ("ExportOptions", "Exported"),
    "interactive.answer": ("Answer",),
    "jobs.dry_run": ("DryRun",),
    "jobs.forgotten": ("ForgottenJob",),
    "jobs.job": ("Job",),
    "jobs.options": ("ExplainOptions", "JobOptions"),
    "jobs.recovery": ("Verification",),
    "jobs.retention.freed": ("Retired",),
    "jobs.reviews.looking": ("ReviewStatus",),
    "jobs.reviews.reviews": ("Reviews",),
    "jobs.stored": ("StoredJob",),
    "pictures.files": ("Saved",),
    "pictures.pictures": ("Pictures",),
    "registry.changes": ("ModelChange",),
    "registry.editor": ("Promoted",),
    "registry.registry": ("ModelEntry", "ModelVersion"),
    "registry.removal": ("Removed",),
    "results.query": ("Filters",),
    "settings": ("Settings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AccessDenied",
    "Answer",
    "AnswerTimeout",
    "AsyncAnswer",
    "AsyncClient",
    "AsyncJob",
    "AsyncModels",
    "AsyncPictures",
    "AsyncReviews",
    "BrokerDamaged",
    "BrokerUnavailable",
    "CallerError",
    "CamfleetError",
    "Client",
    "ConfigurationError",
    "DigestMismatch",
    "Drawing",
    "DryRun",
    "ExplainOptions",
    "ExportOptions",
    "Exported",
    "Filters",
    "Focus",
    "FollowUp",
    "ForgottenJob",
    "Geometry",
    "GoldenMismatch",
    "ImageError",
    "ImageNotFound",
    "ImageTooLarge",
    "ImageTooSlow",
    "ImageUnreadable",
    "InternalError",
    "InvalidCard",
    "InvalidRequest",
    "Item",
    "Job",
    "JobDamaged",
    "JobOptions",
    "LayerMap",
    "LayerRefused",
    "LeftOut",
    "MethodRefused",
    "ModelBroke",
    "ModelChange",
    "ModelEntry",
    "ModelRef",
    "ModelRefused",
    "ModelVersion",
    "NonFiniteOutput",
    "ObjectChanged",
    "ObjectDamaged",
    "ObjectMissing",
    "ObjectTooLarge",
    "OperationUnsupported",
    "Outputs",
    "Pictures",
    "PrecisionRefused",
    "Progress",
    "Promoted",
    "Region",
    "Regions",
    "Removed",
    "Result",
    "ResultsPruned",
    "Retired",
    "Review",
    "ReviewChange",
    "ReviewStatus",
    "ReviewVerdict",
    "Reviews",
    "Saved",
    "ServiceError",
    "Settings",
    "SourceForbidden",
    "SourceUnreachable",
    "StackError",
    "Status",
    "StorageUnavailable",
    "StoredJob",
    "Timings",
    "UnknownJob",
    "UnknownModel",
    "UnknownTarget",
    "UnsupportedModelFile",
    "Verification",
    "WorkerBusy",
    "WorkerKilled",
    "WorkerState",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a name when it's asked for, so that `camfleet --help` answers at once."""
    if name == "__version__":
        from importlib.metadata import version

        return version("camfleet")
    if name in _HOME_OF:
        return getattr(import_module(f"camfleet.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'camfleet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
