"""The Celery tasks: glue between messages and a worker's services."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.exceptions import Reject
from msgspec.structs import replace

from camfleet.broker.requests import ATTEMPT_HEADER, HeldRequest
from camfleet.contract import lanes, messages
from camfleet.contract.codec import decode, encode
from camfleet.contract.messages import (
    CheckReply,
    CheckRequest,
    ErrorInfo,
    ExplainRequest,
    ProbeReply,
    ProbeRequest,
    RenderReply,
    RenderRequest,
    Reply,
    ThumbnailsReply,
    ThumbnailsRequest,
)
from camfleet.contract.outputs import Precision
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Result, Status
from camfleet.contract.studies import StudyReply, StudyRequest
from camfleet.errors import (
    CallerError,
    CamfleetError,
    InternalError,
    PrecisionRefused,
    WorkerKilled,
)
from camfleet.registry.precision import nobody_computes
from camfleet_worker.process.elsewhere import ComputedElsewhere
from camfleet_worker.process.shutdown import RunEnds, WorkerStops

if TYPE_CHECKING:
    from camfleet_worker.prometheus import Answered
    from camfleet_worker.services import Services

logger = logging.getLogger(__name__)

Answer = Callable[["Services", Any], dict[str, Any]]
Refuse = Callable[[ErrorInfo], dict[str, Any]]


def register(app: Celery, services: Callable[[], "Services"]) -> None:
    """Register all tasks with `app`; the first call of `services` builds the process's own."""
    for name, (answer, refuse) in _QUESTIONS.items():
        _register_question(app, services, name, answer, refuse)

    def chunk(**message: Any) -> None:
        """Explain one chunk of a job, store its results part, then count it."""
        try:
            services().chunks.run(decode(message.get("ref"), ChunkRef))
        except WorkerStops as error:
            raise Reject("the worker stops", requeue=True) from error
        except CallerError as error:
            logger.error("chunk refused: %s (%s)", error, error.code)  # noqa: TRY400

    for name in (messages.CHUNK_TASK, messages.FIRST_TASK):
        app.task(name=name, ignore_result=True)(chunk)


def refusal(task: str, error: CamfleetError) -> dict[str, Any]:
    """Return the answer of a task that has no better one than an error."""
    return _QUESTIONS[task][1](_info(error))


def killed(held: HeldRequest) -> dict[str, Any]:
    """Return the answer to a request that workers die of."""
    return refusal(held.task, WorkerKilled(f"{held.attempt} workers died while this was in work"))


def _register_question(
    app: Celery, services: Callable[[], "Services"], name: str, answer: Answer, refuse: Refuse
) -> None:
    """Register a task that somebody waits for.

    Its answer is stored here rather than by Celery, which gives up after a few attempts.
    """

    @app.task(name=name, bind=True, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery's
    def question(self: Any, **message: Any) -> None:
        began = time.monotonic()
        delivery = self.request.delivery_info or {}
        held = HeldRequest(
            id=self.request.id,
            task=name,
            request=message,
            queue=delivery.get("routing_key", ""),
            attempt=int(self.request.get(ATTEMPT_HEADER, None) or 1),
        )
        if delivery.get("redelivered") and services().requests.is_answered(held.id):
            logger.info("request %s was answered before", held.id)
            return
        if messages.kind_of(name) == lanes.BULK_QUEUE:
            services().chunks.send_next()
        crowd = services().admission.crowd(messages.kind_of(name), _subject(name, message))
        with crowd, services().requests.hold(held):
            try:
                reply = _reply(services(), answer, refuse, message)
                services().answer(held.id, reply)
                outcome: Answered = "failed" if reply.get("error") else "answered"
                services().metrics.request(name, outcome, time.monotonic() - began)
            except ComputedElsewhere as error:
                services().insist(partial(_pass_on, services(), held, error.precision))
            except WorkerStops as error:
                raise Reject("the worker stops", requeue=True) from error


def _pass_on(services: "Services", held: HeldRequest, precision: Precision) -> None:
    """Leave a question to workers that compute in a precision, or answer that none is alive."""
    if not services.requests.pass_on(held, precision):
        services.answer(held.id, refusal(held.task, PrecisionRefused(nobody_computes(precision))))


def _subject(task: str, message: dict[str, Any]) -> tuple[str, str]:
    """Return what a question has in common with others: its task, and its model if it names one."""
    request = message.get("request")
    return task, str(request.get("model") if isinstance(request, dict) else None)


def _reply(
    services: "Services", answer: Answer, refuse: Refuse, message: dict[str, Any]
) -> dict[str, Any]:
    try:
        return answer(services, message.get("request"))
    except RunEnds:
        raise
    except Exception as error:  # noqa: BLE001  # the caller learns it, whatever it is
        return refuse(_info(error))


def _explain(services: "Services", request: Any) -> dict[str, Any]:
    """Explain one image while somebody waits."""
    return encode(_without_pixels(services.pipeline.explain(decode(request, ExplainRequest))))


def _check(services: "Services", request: Any) -> dict[str, Any]:
    """Load a model that was uploaded and report on it."""
    asked = decode(request, CheckRequest)
    report = services.check(asked.digest, asked.precisions, asked.images)
    return encode(CheckReply(report=report, error=None))


def _probe(services: "Services", request: Any) -> dict[str, Any]:
    """Try to read some images, for a dry run."""
    errors = services.pipeline.probe(decode(request, ProbeRequest).uris)
    return encode(ProbeReply(errors=errors, error=None))


def _thumbnails(services: "Services", request: Any) -> dict[str, Any]:
    """Write small pictures of some of a job's images."""
    errors = services.thumbnailer.make(decode(request, ThumbnailsRequest))
    return encode(ThumbnailsReply(errors=errors, error=None))


def _render(services: "Services", request: Any) -> dict[str, Any]:
    """Draw some of a job's maps anew."""
    errors = services.renderer.make(decode(request, RenderRequest))
    return encode(RenderReply(errors=errors, error=None))


def _study(services: "Services", request: Any) -> dict[str, Any]:
    """Ask a model about some of a job's rows, beside the chunks of jobs."""
    errors = services.studies.make(decode(request, StudyRequest))
    return encode(StudyReply(errors=errors, error=None))


_QUESTIONS: dict[str, tuple[Answer, Refuse]] = {
    messages.EXPLAIN_TASK: (_explain, lambda error: encode(Reply(results=(), error=error))),
    messages.CHECK_TASK: (_check, lambda error: encode(CheckReply(report=None, error=error))),
    messages.PROBE_TASK: (_probe, lambda error: encode(ProbeReply(errors=(), error=error))),
    messages.THUMBNAILS_TASK: (
        _thumbnails,
        lambda error: encode(ThumbnailsReply(errors=(), error=error)),
    ),
    messages.RENDER_TASK: (_render, lambda error: encode(RenderReply(errors=(), error=error))),
    messages.STUDY_TASK: (_study, lambda error: encode(StudyReply(errors=(), error=error))),
}


def _without_pixels(rows: list[Result]) -> Reply:
    """Return rows without their maps (no pixels in Redis), or the error of a failed image."""
    first = rows[0]
    if first.status is Status.FAILED:
        error = ErrorInfo(code=first.error_code or "error", message=first.error_message or "")
        return Reply(results=(), error=error)
    return Reply(results=tuple(map(_without_maps, rows)), error=None)


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
