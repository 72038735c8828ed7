"""What can go wrong, as one tree.

    CamfleetError
    ├── CallerError               the caller's fault: never retried
    │   ├── InvalidRequest        a field is unknown, missing or out of range
    │   ├── ConfigurationError    a setting is missing or malformed
    │   ├── UnknownModel          no such model id or version is registered
    │   ├── UnknownJob            no such job
    │   │   ├── JobDamaged             what Redis holds of it is not what was written there
    │   │   └── ResultsPruned          its results were deleted, its report was kept
    │   ├── BrokerDamaged         what Redis holds is not what was written there
    │   ├── InvalidCard           the model card does not say what it must
    │   ├── ModelRefused          the model can't be explained: the reason is in the message
    │   │   ├── UnsupportedModelFile   not a .keras, .h5 or .hdf5 file that Keras can read
    │   │   ├── DigestMismatch         the artifact's bytes are not those of the card
    │   │   ├── LayerRefused           no such layer, or the graph can't be cut there
    │   │   ├── MethodRefused          the method's formula doesn't hold for this head
    │   │   ├── PrecisionRefused       it changes too much in bf16, or nobody here computes so
    │   │   └── GoldenMismatch         the card's golden image gives another answer
    │   ├── UnknownTarget         no such class index or label
    │   ├── ObjectMissing         nothing lies at that key of the object store
    │   ├── ObjectChanged         somebody wrote the object meanwhile
    │   ├── ObjectTooLarge        an object has more bytes than somebody wants to read
    │   ├── ObjectDamaged         an object of a job is no longer what was written there
    │   ├── AccessDenied          the object store refuses the credentials
    │   └── ImageError            one image can't be used
    │       ├── SourceForbidden   the settings don't let a worker read from there
    │       ├── ImageNotFound     nothing at that URI
    │       ├── ImageTooLarge     more bytes or pixels than the settings allow
    │       ├── ImageTooSlow      it takes longer to decode than the settings allow
    │       ├── ImageUnreadable   not an image, or a broken one
    │       ├── NonFiniteOutput   the model answered NaN or infinity for it
    │       ├── ModelBroke        the model raised an error on it
    │       └── WorkerKilled      the worker process dies whenever it's in work
    └── ServiceError              our fault or an outage: worth a retry
        ├── BrokerUnavailable     Redis doesn't answer
        ├── StorageUnavailable    the object store doesn't answer
        │   └── OperationUnsupported   it has no such operation, as conditional writes
        ├── SourceUnreachable     the image's own server doesn't answer
        ├── AnswerTimeout         no worker answered in time
        ├── WorkerBusy            a worker has too many images that take long to decode
        ├── StackError            the local stack can't start
        └── InternalError         a bug of ours, or a worker out of memory

Every class has a stable ``code`` that travels in results and messages; `from_code` turns
code and message back into the class on the other side.
"""

import difflib
from collections.abc import Iterable

from camfleet.foreign import without_secrets


class CamfleetError(Exception):
    """Base of all errors that camfleet raises on purpose; `message` names thing and way out.

    Whatever URL a message quotes, it quotes it without passwords and signatures.
    """

    code = "error"

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))

    @property
    def message(self) -> str:
        return str(self)


class CallerError(CamfleetError):
    code = "caller_error"


class InvalidRequest(CallerError):
    code = "invalid_request"


class ConfigurationError(CallerError):
    code = "configuration"


class UnknownModel(CallerError):
    code = "unknown_model"


class UnknownJob(CallerError):
    code = "unknown_job"


class JobDamaged(UnknownJob):
    code = "job_damaged"


class ResultsPruned(UnknownJob):
    code = "results_pruned"


class BrokerDamaged(CallerError):
    code = "broker_damaged"


class InvalidCard(CallerError):
    code = "invalid_card"


class ModelRefused(CallerError):
    code = "model_refused"


class UnsupportedModelFile(ModelRefused):
    code = "unsupported_model_file"


class DigestMismatch(ModelRefused):
    code = "digest_mismatch"


class LayerRefused(ModelRefused):
    code = "layer_refused"


class MethodRefused(ModelRefused):
    code = "method_refused"


class PrecisionRefused(ModelRefused):
    code = "precision_refused"


class GoldenMismatch(ModelRefused):
    code = "golden_mismatch"


class UnknownTarget(CallerError):
    code = "unknown_target"


class ObjectMissing(CallerError):
    code = "object_missing"


class ObjectChanged(CallerError):
    code = "object_changed"


class ObjectTooLarge(CallerError):
    code = "object_too_large"


class ObjectDamaged(CallerError):
    code = "object_damaged"


class AccessDenied(CallerError):
    code = "access_denied"


class ImageError(CallerError):
    code = "image_error"


class SourceForbidden(ImageError):
    code = "source_forbidden"


class ImageNotFound(ImageError):
    code = "image_not_found"


class ImageTooLarge(ImageError):
    code = "image_too_large"


class ImageTooSlow(ImageError):
    code = "image_too_slow"


class ImageUnreadable(ImageError):
    code = "image_unreadable"


class NonFiniteOutput(ImageError):
    code = "nonfinite"


class ModelBroke(ImageError):
    code = "model_broke"


class WorkerKilled(ImageError):
    code = "worker_killed"


class ServiceError(CamfleetError):
    code = "service_error"


class BrokerUnavailable(ServiceError):
    code = "broker_unavailable"


class StorageUnavailable(ServiceError):
    code = "storage_unavailable"
    refused = False  # whether the store answers, and refuses the credentials


class OperationUnsupported(StorageUnavailable):
    code = "operation_unsupported"


class SourceUnreachable(ServiceError):
    code = "source_unreachable"


class AnswerTimeout(ServiceError):
    code = "answer_timeout"


class WorkerBusy(ServiceError):
    code = "worker_busy"


class StackError(ServiceError):
    code = "stack_error"


class InternalError(ServiceError):
    code = "internal_error"


def _tree(root: type[CamfleetError]) -> list[type[CamfleetError]]:
    """Return a kind of errors and all kinds of it here: others elsewhere have its code."""
    own = (child for child in root.__subclasses__() if child.__module__ == __name__)
    return [root, *(leaf for child in own for leaf in _tree(child))]


_BY_CODE = {kind.code: kind for kind in _tree(CamfleetError)}
_IN_ROWS: tuple[type[CamfleetError], ...] = (
    *_tree(ImageError),
    SourceUnreachable,
    UnknownTarget,
    *_tree(ModelRefused),
    InvalidCard,
    UnknownModel,
    InvalidRequest,
)


def from_code(code: str, message: str) -> CamfleetError:
    """Return the error that `code` names; an unknown code gives an `InternalError`."""
    return _BY_CODE.get(code, InternalError)(message)


def check_codes(codes: Iterable[str]) -> None:
    """Raise `InvalidRequest` for a code that no error has: a row can't have it either."""
    for code in codes:
        if code not in _BY_CODE:
            near = difflib.get_close_matches(code, _BY_CODE, n=1)
            rows = ", ".join(kind.code for kind in _IN_ROWS)
            hint = f"did you mean {near[0]!r}?" if near else f"rows may have {rows}"
            raise InvalidRequest(f"no error has the code {code!r}; {hint}")


def check_timeout(seconds: float) -> None:
    """Raise `InvalidRequest` unless there is time to wait."""
    if not seconds > 0:
        raise InvalidRequest(f"timeout is {seconds:g}: give a number of seconds above 0")
