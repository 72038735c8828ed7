"""Label Studio's API: tasks and predictions are listed and written, images are read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from camfleet.errors import InvalidRequest
from camfleet.label_studio.connection import Answer, Connection
from camfleet.label_studio.patience import NONE, Patience
from camfleet.label_studio.places import TOKEN, Server
from camfleet.settings import Settings

WRITE_SECONDS = 600.0  # Label Studio is slow, and what it's writing mustn't be sent again
READ_SECONDS = 120.0
_PAGE = 500  # tasks
_MOST_BYTES = 2**28  # of an answer
_LISTED = 500  # characters: where it cuts off a list of versions


class ProjectInfo(Struct):
    """A project, as far as it matters here."""

    label_config: str = ""
    title: str | None = None
    task_number: int | None = None
    total_predictions_number: int | None = None


class Task(Struct):
    """A task as it's listed: with the versions of its predictions, not with these."""

    id: int
    data: dict[str, Any] = {}
    total_annotations: int = 0
    total_predictions: int = 0
    predictions_model_versions: str = ""


class _Page(Struct):
    tasks: list[Task]
    total: int


class _Imported(Struct):
    task_ids: list[int] = []


class _Prediction(Struct):
    id: int
    model_version: str | None = None


class Api:
    """One server of Label Studio, asked as one of its users. Safe to share by threads.

    `secret` is the user's access token: of 40 digits, or a personal one, for which Label Studio
    gives others that live for minutes. `setting` is where it comes from, for messages.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        ca_file: str = "",
        setting: str = TOKEN,
        patience: Patience = NONE,
    ) -> None:
        """`patience` is for questions: whoever writes has to look whether it arrived."""
        self.server = Server(url)
        self._patience = patience
        self._connection = Connection(url, secret, ca_file=ca_file, setting=setting)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the server that the settings name; without one it serves nothing."""
        return cls(settings.label_studio_url, settings.label_studio_token, ca_file=settings.ca_file)

    def project(self, number: int) -> ProjectInfo:
        """Return a project; raise `InvalidRequest` where the token's user sees none."""
        found: ProjectInfo = self._ask("GET", f"/api/projects/{number}", ProjectInfo)
        return found

    def tasks(
        self,
        project: int,
        *,
        version: str | None = None,
        ids: Sequence[int] = (),
        after: int = 0,
    ) -> Iterator[Task]:
        """Yield a project's tasks, page by page.

        With `version` those that may have such a prediction, see `has_version`; with `ids` those
        between the first and the last of these; with `after` those of higher numbers.
        """
        items: list[dict[str, Any]] = []
        if version is not None:
            items.append(_filter("predictions_model_versions", "contains", "String", [version]))
        if ids:
            items.append(_filter("id", "in", "Number", {"min": min(ids), "max": max(ids)}))
        if after:
            items.append(_filter("id", "greater", "Number", after))
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
        """Return whether a task has a prediction of a version, if it was listed with `version`."""
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

    # What is deleted already is as good.

    def delete_prediction(self, number: int) -> None:
        self._ask("DELETE", f"/api/predictions/{number}", None)

    def delete_task(self, number: int) -> None:
        self._ask("DELETE", f"/api/tasks/{number}", None)

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Make tasks, with their predictions; return their numbers.

        Raises `InvalidRequest` if it takes none of them.
        """
        path = f"/api/projects/{project}/import?return_task_ids=true"
        imported: _Imported = self._ask("POST", path, _Imported, tasks)
        return imported.task_ids

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Give tasks predictions; raise `InvalidRequest` if it takes none of them."""
        self._ask("POST", f"/api/projects/{project}/import/predictions", None, predictions)

    def get(self, uri: str, limit: int, seconds: float) -> Answer:
        """Return the answer to a file's URI on this server, of at most `limit` bytes.

        Raises `LabelStudioUnavailable`, and `ConfigurationError` where it refuses the token.
        """
        return self._connection.ask("GET", uri, limit=limit, seconds=seconds)

    def _ask(self, verb: str, path: str, kind: Any, body: Any = None) -> Any:
        """Return the JSON answer as `kind`; None: whatever it is."""
        data = None if body is None else msgspec.json.encode(body)
        if verb == "GET":
            answer = self._patience.run(lambda: self._answer(verb, path, data, READ_SECONDS))
        else:
            answer = self._answer(verb, path, data, WRITE_SECONDS)
        if kind is None:
            return None
        try:
            return msgspec.json.decode(answer.body or b"", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(
                f"{self.server.url}{path.partition('?')[0]} doesn't answer as Label Studio does: "
                f"{error}"
            ) from error

    def _answer(self, verb: str, path: str, data: bytes | None, seconds: float) -> Answer:
        uri = self.server.url + path
        answer = self._connection.ask(verb, uri, body=data, limit=_MOST_BYTES, seconds=seconds)
        gone = verb == "DELETE" and answer.status == 404
        if not 200 <= answer.status < 300 and not gone:
            raise self._connection.error(answer, path)
        return answer


def _filter(name: str, operator: str, kind: str, value: Any) -> dict[str, Any]:
    return {
        "filter": f"filter:tasks:{name}",
        "operator": operator,
        "type": kind,
        "value": value,
    }
