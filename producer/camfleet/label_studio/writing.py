"""Predictions and tasks are written to Label Studio in slices, each of them once.

Its imports can't be repeated: it would store all of them again. So what a slice holds is looked for
before it's sent, and whoever is told twice, by a process that died or by an answer that got lost,
goes on where it ended.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from camfleet.errors import InvalidRequest, ServiceError
from camfleet.label_studio.api import Api
from camfleet.label_studio.patience import NONE, Patience

SLICE = 200  # tasks that are sent at once
SLICE_BYTES = 2**23
_ENCODE = msgspec.json.Encoder().encode
T = TypeVar("T")


class Check(Protocol):
    def __call__(self) -> object:
        """Return, or raise where the work must end."""


@dataclass
class Written:
    """What became of predictions, counted by tasks."""

    written: int = 0
    there: int = 0  # which had one of this version
    gone: int = 0  # which Label Studio has no more
    doubled: int = 0  # predictions that were there twice, and were taken out


class Batch(Generic[T]):
    """Members that are sent together: so many and of so many bytes as JSON, at most; one at least.

    `add` and `rest` return those that are to be sent now, or none.
    """

    def __init__(self, most: int = SLICE, most_bytes: int = SLICE_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._members: list[T] = []
        self._bytes = 0

    def add(self, member: T) -> list[T]:
        size = len(_ENCODE(member))
        full = len(self._members) == self._most or self._bytes + size > self._most_bytes
        ready = self.rest() if full else []
        self._members.append(member)
        self._bytes += size
        return ready

    def rest(self) -> list[T]:
        found, self._members, self._bytes = self._members, [], 0
        return found


class PredictionWriter:
    """Gives tasks of one project predictions of one version, unless they have one."""

    def __init__(
        self,
        api: Api,
        project: int,
        version: str,
        *,
        check: Check = lambda: None,
        reach: Callable[[str], object] = lambda _place: None,
        on_tasks: Callable[[int], object] = lambda _count: None,
        patience: Patience = NONE,
    ) -> None:
        """`check` is called before each request, `on_tasks` with how many tasks are settled."""
        self.count = Written()
        self._api = api
        self._project = project
        self._version = version
        self._check = check
        self._reach = reach
        self._on_tasks = on_tasks
        self._patience = patience
        self._sent: list[tuple[int, int]] = []  # first and last task of each slice
        self._unsure: set[int] = set()  # tasks whose prediction was sent, and nobody said whether

    def write(self, predictions: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Write predictions by the ids of their tasks.

        Raises `LabelStudioUnavailable`, `ConfigurationError` and `InvalidRequest`, with what was
        written until then.
        """
        batch: Batch[dict[str, Any]] = Batch()
        for task, prediction in predictions:
            self._write_patiently(batch.add({"task": task, **prediction}))
        self._write_patiently(batch.rest())

    def finish(self, *, suspected: bool = False) -> None:
        """Delete what two writers at once have written twice: all but the oldest.

        That there were two shows by tasks that had a prediction, if nobody suspected it before.
        """
        if not self.count.there and not suspected:
            return
        for ids in self._sent:
            self._check()
            for task in self._api.tasks(self._project, version=self._version, ids=ids):
                if task.total_predictions < 2:
                    continue
                for number in self._api.predictions(task.id, self._version)[1:]:
                    self._check()
                    self._api.delete_prediction(number)
                    self.count.doubled += 1

    def _write_patiently(self, found: list[dict[str, Any]]) -> None:
        self._patience.run(lambda: self._write(found))

    def _write(self, found: list[dict[str, Any]]) -> None:
        if not found:
            return
        ids = [one["task"] for one in found]
        self._check()
        there = self._with_version(ids)
        missing = [one for one in found if one["task"] not in there]
        if missing:
            self._check()
            missing = self._send(missing, ids)
            self._reach("label-studio-sent")
        self._sent.append((min(ids), max(ids)))
        own = there & self._unsure
        self._unsure = set()
        self.count.there += len(there) - len(own)
        self.count.written += len(missing) + len(own)
        self._on_tasks(len(found))

    def _send(self, missing: list[dict[str, Any]], ids: list[int]) -> list[dict[str, Any]]:
        """Send predictions; return those whose tasks exist."""
        try:
            self._api.import_predictions(self._project, missing)
        except ServiceError:
            self._unsure = {one["task"] for one in missing}
            raise
        except InvalidRequest:
            # It takes all or none, and may refuse them because of a task that was deleted.
            known = {task.id for task in self._api.tasks(self._project, ids=ids)}
            kept = [one for one in missing if one["task"] in known]
            if len(kept) == len(missing):
                raise
            self.count.gone += len(missing) - len(kept)
            if kept:
                self._check()
                self._api.import_predictions(self._project, kept)
            return kept
        return missing

    def _with_version(self, ids: list[int]) -> set[int]:
        wanted = set(ids)
        listed = self._api.tasks(self._project, version=self._version, ids=ids)
        return {
            task.id
            for task in listed
            if task.id in wanted and self._api.has_version(task, self._version)
        }
