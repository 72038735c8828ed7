"""The Celery tasks: glue between messages and a worker's services."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import Reject
from msgspec.structs import replace

from camfleet.contract import messages
from camfleet.contract.codec import decode, encode
from camfleet.contract.messages import (
    CheckReply,
    CheckRequest,
    ErrorInfo,
    ExplainRequest,
    ProbeReply,
    ProbeRequest,
    Reply,
)
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Result, Status
from camfleet.errors import CallerError, CamfleetError, InternalError
from camfleet_worker.process.shutdown import WorkerStops

if TYPE_CHECKING:
    from camfleet_worker.services import Services

logger = logging.getLogger(__name__)


def register(app: Celery, services: Callable[[], "Services"]) -> None:
    """Register all tasks with `app`; the first call of `services` builds the process's own."""

    @app.task(name=messages.EXPLAIN_TASK, resultrepr_maxsize=80)  # type: ignore[untyped-decorator]  # Celery's
    def explain(**message: Any) -> dict[str, Any]:
        """Explain one image while somebody waits."""
        try:
            request = decode(message.get("request"), ExplainRequest)
            return encode(_reply(services().pipeline.explain(request)))
        except Exception as error:  # noqa: BLE001  # the caller learns it, whatever it is
            return encode(Reply(results=(), error=_info(error)))

    @app.task(name=messages.CHECK_TASK, resultrepr_maxsize=80)  # type: ignore[untyped-decorator]  # Celery's
    def check(**message: Any) -> dict[str, Any]:
        """Load a model that was uploaded and report on it."""
        try:
            digest = decode(message.get("request"), CheckRequest).digest
            return encode(CheckReply(report=services().check(digest), error=None))
        except Exception as error:  # noqa: BLE001  # the caller learns it, whatever it is
            return encode(CheckReply(report=None, error=_info(error)))

    @app.task(name=messages.PROBE_TASK, resultrepr_maxsize=80)  # type: ignore[untyped-decorator]  # Celery's
    def probe(**message: Any) -> dict[str, Any]:
        """Try to read some images, for a dry run."""
        try:
            uris = decode(message.get("request"), ProbeRequest).uris
            return encode(ProbeReply(errors=services().pipeline.probe(uris), error=None))
        except Exception as error:  # noqa: BLE001  # the caller learns it, whatever it is
            return encode(ProbeReply(errors=(), error=_info(error)))

    @app.task(name=messages.CHUNK_TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def chunk(**message: Any) -> None:
        """Explain one chunk of a job, store its results part, then count it."""
        try:
            services().chunks.run(decode(message.get("ref"), ChunkRef))
        except WorkerStops as error:
            raise Reject("the worker stops", requeue=True) from error
        except CallerError as error:
            logger.error("chunk refused: %s (%s); message %r", error, error.code, message)  # noqa: TRY400


def _reply(rows: list[Result]) -> Reply:
    """Return rows without their maps (no pixels in Redis), or the error of a failed image."""
    first = rows[0]
    if first.status is Status.FAILED:
        error = ErrorInfo(code=first.error_code or "error", message=first.error_message or "")
        return Reply(results=(), error=error)
    return Reply(results=tuple(_without_maps(row) for row in rows), error=None)


def _without_maps(row: Result) -> Result:
    own = row.layer_maps and tuple(replace(layer, map=None) for layer in row.layer_maps)
    return replace(row, map=None, layer_maps=own)


def _info(error: Exception) -> ErrorInfo:
    if not isinstance(error, CamfleetError):
        logger.error("a task broke", exc_info=error)
        error = InternalError(
            f"{type(error).__name__}: {str(error)[:300]} (the worker's log has the trace)"
        )
    return ErrorInfo(code=error.code, message=error.message)
