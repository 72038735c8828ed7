"""Label Studio's API: tasks and predictions are listed and written, images are read.

The server and the token are the operator's own, so private addresses are as good as any. The
token goes to no other server, and into no message.
"""

import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urljoin

import msgspec
from msgspec import Struct
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3 import exceptions as broken

from camfleet.errors import ConfigurationError, InvalidRequest, ServiceError, SourceUnreachable
from camfleet.foreign import visible
from camfleet.label_studio.places import TOKEN, Server
from camfleet.settings import Settings

WRITE_SECONDS = 600.0  # Label Studio is slow, and what it's writing mustn't be sent again
READ_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_PAGE = 500  # tasks
_MOST_BYTES = 2**28  # of an answer
_BLOCK = 2**16
_AWAY = (408, 425, 429, 502, 503, 504)
_LEGACY = re.compile(r"[0-9a-f]{40}")
_SPARE_SECONDS = 30.0  # of a bearer's life, which Label Studio makes 5 minutes long
_BEARER_SECONDS = 300.0
_LISTED = 500  # characters: where it cuts off a list of versions


class LabelStudioUnavailable(SourceUnreachable):
    """It doesn't answer, or says that it can't now."""


class ProjectInfo(Struct):
    """A project, as far as it matters here."""

    label_config: str = ""
    title: str | None = None
    task_number: int | None = None


class Task(Struct):
    """A task as it's listed: with the versions of its predictions, not with these."""

    id: int
    data: dict[str, Any] = {}
    total_predictions: int = 0
    predictions_model_versions: str = ""


class _Page(Struct):
    tasks: list[Task]
    total: int


class _Prediction(Struct):
    id: int
    model_version: str | None = None


class _Access(Struct):
    access: str


@dataclass(frozen=True)
class Answer:
    """An answer whose body isn't JSON: an image."""

    status: int
    body: bytes | None  # None: it's longer than the limit
    etag: str
    location: str | None  # absolute, of a redirect


class Api:
    """One server of Label Studio, asked as one of its users. Safe to share by threads.

    `secret` is the user's access token: of 40 digits, or a personal one, for which Label Studio
    gives others that live for minutes. `setting` is where it comes from, for messages.
    """

    def __init__(self, url: str, secret: str, *, ca_file: str = "", setting: str = TOKEN) -> None:
        self.server = Server(url)
        self.setting = setting
        self._secret = secret
        self._bearer, self._bearer_until = "", 0.0
        trust = ssl.create_default_context()
        if ca_file:
            trust.load_verify_locations(ca_file)
        self._pool = PoolManager(maxsize=8, ssl_context=trust, retries=Retry(False))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the server that the settings name; without one it serves nothing."""
        return cls(settings.label_studio_url, settings.label_studio_token, ca_file=settings.ca_file)

    def project(self, number: int) -> ProjectInfo:
        """Return a project; raise `InvalidRequest` where the token's user sees none."""
        found: ProjectInfo = self._ask("GET", f"/api/projects/{number}", ProjectInfo)
        return found

    def tasks(
        self, project: int, *, version: str | None = None, ids: Sequence[int] = ()
    ) -> Iterator[Task]:
        """Yield a project's tasks, page by page.

        With `version` those that may have such a prediction, see `has_version`; with `ids` those
        between the first and the last of these.
        """
        items: list[dict[str, Any]] = []
        if version is not None:
            items.append(_filter("predictions_model_versions", "contains", "String", [version]))
        if ids:
            items.append(_filter("id", "in", "Number", {"min": min(ids), "max": max(ids)}))
        query = json.dumps({"filters": {"conjunction": "and", "items": items}})
        page, seen, total = 1, 0, 1
        while seen < total:
            words = {"project": project, "page": page, "page_size": _PAGE, "resolve_uri": "false"}
            found = self._ask("GET", f"/api/tasks?{urlencode({**words, 'query': query})}", _Page)
            yield from found.tasks
            page, seen, total = page + 1, seen + len(found.tasks), found.total
            if not found.tasks:
                return

    def has_version(self, task: Task, version: str) -> bool:
        """Return whether a listed task has a prediction of a version."""
        text = task.predictions_model_versions
        if version in map(str.strip, text.split(",")):
            return True
        if len(text) < _LISTED or not task.total_predictions:
            return False
        return bool(self.predictions(task.id, version))

    def predictions(self, task_id: int, version: str) -> list[int]:
        """Return the ids of a task's predictions of a version, the oldest first."""
        found = self._ask("GET", f"/api/predictions?task={task_id}", list[_Prediction])
        return sorted(one.id for one in found if one.model_version == version)

    def delete_prediction(self, number: int) -> None:
        self._ask("DELETE", f"/api/predictions/{number}", None)

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Make tasks, with their predictions; raise `InvalidRequest` if it takes none of them."""
        self._ask("POST", f"/api/projects/{project}/import", None, tasks)

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Give tasks predictions; raise `InvalidRequest` if it takes none of them."""
        self._ask("POST", f"/api/projects/{project}/import/predictions", None, predictions)

    def get(self, uri: str, limit: int, seconds: float) -> Answer:
        """Return the answer to a file's URI on this server, of at most `limit` bytes.

        Raises `LabelStudioUnavailable`, and `ConfigurationError` where it refuses the token.
        """
        answer = self._send("GET", uri, None, seconds)
        try:
            self._refuse_token(answer)
            body = _body(answer, limit)
        finally:
            answer.release_conn()
        target = answer.get_redirect_location()
        location = urljoin(uri, target) if target else None
        return Answer(answer.status, body, answer.headers.get("ETag", ""), location)

    def _ask(self, verb: str, path: str, kind: Any, body: Any = None) -> Any:
        """Return the JSON answer as `kind`; None: whatever it is."""
        seconds = READ_SECONDS if verb == "GET" else WRITE_SECONDS
        data = None if body is None else msgspec.json.encode(body)
        answer = self._send(verb, self.server.url + path, data, seconds)
        try:
            self._refuse_token(answer)
            content = _body(answer, _MOST_BYTES) or b""
        finally:
            answer.release_conn()
        if answer.status >= 400 or answer.status in range(300, 400):
            raise self._error(answer.status, path, content)
        if kind is None:
            return None
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(
                f"{self._shown(path)} doesn't answer as Label Studio does: {error}"
            ) from error

    def _send(self, verb: str, uri: str, body: bytes | None, seconds: float) -> BaseHTTPResponse:
        headers = {"Authorization": self._authorization(), "User-Agent": "camfleet"}
        return self._request(verb, uri, body, headers, seconds)

    def _request(
        self, verb: str, uri: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> BaseHTTPResponse:
        # A kept connection may have ended, and then nobody knows whether a POST arrived.
        kind = {"Connection": "close", "Accept-Encoding": "identity"}
        if body is not None:
            kind["Content-Type"] = "application/json"
        try:
            return self._pool.request(
                verb,
                uri,
                body=body,
                headers={**headers, **kind},
                redirect=False,
                preload_content=False,
                timeout=Timeout(connect=_CONNECT_SECONDS, read=seconds),
            )
        except (broken.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _authorization(self) -> str:
        if not self._secret:
            raise ConfigurationError(
                f"there's no token for Label Studio at {self.server.url}: set {self.setting} to an "
                "access token of one of its users (Account & Settings)"
            )
        if _LEGACY.fullmatch(self._secret):
            return f"Token {self._secret}"
        if time.monotonic() >= self._bearer_until:
            self._renew()
        return f"Bearer {self._bearer}"

    def _renew(self) -> None:
        """Get a token that lives for minutes for the personal one."""
        body = msgspec.json.encode({"refresh": self._secret})
        answer = self._request(
            "POST", f"{self.server.url}/api/token/refresh/", body, {}, READ_SECONDS
        )
        try:
            self._refuse_token(answer)
            content = _body(answer, _BLOCK) or b""
        finally:
            answer.release_conn()
        try:
            self._bearer = msgspec.json.decode(content, type=_Access).access
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._error(answer.status, "/api/token/refresh/", content) from None
        self._bearer_until = time.monotonic() + _BEARER_SECONDS - _SPARE_SECONDS

    def _refuse_token(self, answer: BaseHTTPResponse) -> None:
        """Raise `ConfigurationError` where the user isn't let in."""
        target = answer.get_redirect_location()
        if answer.status == 401 or (target and "/user/login" in target):
            self._bearer_until = 0.0
            raise ConfigurationError(
                f"Label Studio at {self.server.url} refuses the token: set {self.setting} to an "
                "access token of one of its users (Account & Settings) that is still valid"
            )

    def _error(self, status: int, path: str, content: bytes) -> Exception:
        if status in _AWAY:
            return LabelStudioUnavailable(f"{self._shown(path)} answers {status}")
        if status == 403:
            return ConfigurationError(
                f"{self._shown(path)} answers 403: the user of {self.setting} may not do that"
            )
        if status == 404:
            return InvalidRequest(
                f"{self._shown(path)} answers 404: there's no such project, or the user of "
                f"{self.setting} doesn't see it"
            )
        if status >= 500:
            return ServiceError(f"{self._shown(path)} answers {status}: its log says why")
        if status in range(300, 400):
            return InvalidRequest(
                f"{self._shown(path)} redirects: give the address to which it leads"
            )
        return InvalidRequest(f"{self._shown(path)} answers {status}: {_reasons(content)}")

    def _unreachable(self, error: Exception) -> LabelStudioUnavailable:
        return LabelStudioUnavailable(
            f"Label Studio at {self.server.url} doesn't answer: {type(error).__name__}, "
            f"{str(error)[:200]}"
        )

    def _shown(self, path: str) -> str:
        return f"Label Studio at {self.server.url}, {path.partition('?')[0]},"


def _filter(name: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {
        "filter": f"filter:tasks:{name}",
        "operator": operator,
        "type": kind,
        "value": value,
    }


def _body(answer: BaseHTTPResponse, limit: int) -> bytes | None:
    """Return a body, None if it's longer than the limit."""
    data = bytearray()
    try:
        for block in answer.stream(_BLOCK, decode_content=True):
            data += block
            if len(data) > limit:
                answer.close()
                return None
    except (broken.HTTPError, OSError) as error:
        raise LabelStudioUnavailable(
            f"Label Studio's answer is cut off: {type(error).__name__}"
        ) from error
    return bytes(data)


def _reasons(content: bytes) -> str:
    """Return what Label Studio says of what it refuses, in short."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it doesn't say why"
    found = found if isinstance(found, dict) else {}
    told = found.get("validation_errors") or found.get("detail") or "it doesn't say why"
    text = msgspec.json.encode(told).decode() if not isinstance(told, str) else told
    return visible(text[:500])
