"""What went wrong, as statuses of HTTP and problem documents (RFC 9457)."""

import errno
import logging
import re
import time
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from camfleet import errors
from camfleet.errors import CamfleetError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
REASON = "camfleet-reason"  # the server makes the phrase behind the status of it
_LONGEST_REASON = 500
_OUTAGE_SECONDS = 30.0  # between two lines of the log on the same outage
_UNFIT = re.compile(r"[^ -~]+")

# By class: the nearest one above an error counts.
STATUSES: dict[type[CamfleetError], int] = {
    errors.CamfleetError: 500,
    errors.CallerError: 422,
    errors.ConfigurationError: 500,
    errors.UnknownModel: 404,
    errors.UnknownJob: 404,
    errors.JobDamaged: 500,
    errors.ResultsPruned: 410,
    errors.BrokerDamaged: 500,
    errors.ObjectMissing: 404,
    errors.ObjectChanged: 409,
    errors.ObjectTooLarge: 413,
    errors.ObjectDamaged: 500,
    errors.ServiceError: 503,
    errors.InternalError: 500,
}
# Whoever is told one of these may still be sending: the rest is not waited for.
_ENDS_CONNECTION = {400, 401, 403, 408, 413, 415, 421, 431}


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is an error; `code` is stable, `detail` is for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


class Problem(Exception):
    """An answer that is an error of HTTP rather than one of camfleet's."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


class Outages:
    """What the log says of Redis and the bucket while they're away: not a line a request."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def note(self, error: Exception) -> None:
        """Log an error that is an outage, unless one of its code was logged a moment ago."""
        if not isinstance(error, errors.BrokerUnavailable | errors.StorageUnavailable):
            return
        now = time.monotonic()
        if now - self._logged.get(error.code, -_OUTAGE_SECONDS) >= _OUTAGE_SECONDS:
            self._logged[error.code] = now
            logger.warning("requests are answered with 503: %s", error)


def status_of(error: CamfleetError) -> int:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def known(error: Exception) -> Exception:
    """Return an error as what it's told as: that a disk is full is no bug."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(
            503,
            "no_space",
            "the gateway has no room on its disk: try again later, or send files to a URL "
            "(POST /v1/uploads)",
            {"Connection": "close"},
        )
    return error


def answer_to(error: Exception) -> Response:
    """Return the answer that tells of an error; nothing of a bug but that it's one."""
    if isinstance(error, Problem):
        return _document(error.status, error.code, str(error), error.headers)
    if isinstance(error, CamfleetError):
        return _document(status_of(error), error.code, error.message, {})
    bug = errors.InternalError("the gateway has a bug; its log says where")
    return _document(500, bug.code, bug.message, {})


def with_reason(answer: Response, error: Exception) -> Response:
    """Let an answer's first line say what went wrong, in place of the status' name."""
    told = error if isinstance(error, Problem | CamfleetError) else "the gateway has a bug"
    text = str(told)[:_LONGEST_REASON].encode("ascii", "replace").decode()
    answer.headers[REASON] = _UNFIT.sub(" ", text).strip()  # no field may end with a blank
    return answer


def _document(status: int, code: str, detail: str, headers: dict[str, str]) -> Response:
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        ProblemDocument(title=title, status=status, code=code, detail=detail)
    )
    if status in (429, 503):
        headers = {"Retry-After": str(RETRY_SECONDS), **headers}
    if status in _ENDS_CONNECTION:
        headers = {"Connection": "close", **headers}
    return Response(body, status, headers, media_type="application/problem+json")
