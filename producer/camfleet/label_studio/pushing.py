"""A job's results are pushed into a project: as predictions of its tasks, or as new tasks.

What the project has is looked at first, so a push that was cut off goes on where it ended, and one
that is repeated does nothing. What an outage leaves open, whether a slice arrived, is looked up
before it's sent again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from camfleet.errors import ServiceError
from camfleet.exports.image_value import ImageValue
from camfleet.exports.images import Failure, Image
from camfleet.exports.label_studio import ITEM
from camfleet.label_studio.api import Api, Task
from camfleet.label_studio.known import KnownTasks
from camfleet.label_studio.patience import NONE, Patience
from camfleet.label_studio.writing import SLICE, Batch, PredictionWriter

NEW_SLICE = 500  # tasks that are made at once
Prediction = Mapping[str, Any] | None
Found = Iterable[tuple[Image | Failure, Prediction]]


@dataclass
class Pushed:
    """What a push did, counted by images."""

    made: int = 0  # new tasks
    written: int = 0  # predictions of tasks that were there
    there: int = 0  # which had one of this version
    failed: int = 0
    doubled: int = 0  # tasks and predictions that were there twice, and were taken out


class Pusher:
    """Pushes into one project, predictions of one version; `value` is what shows a task's image.

    What the server can't do now is tried again with `patience`.
    """

    def __init__(
        self, api: Api, project: int, value: ImageValue, version: str, *, patience: Patience = NONE
    ) -> None:
        self.pushed = Pushed()
        self._api = api
        self._project = project
        self._value = value
        self._version = version
        self._patience = patience
        self._on_images: Callable[[int], object] = bool
        self._known = KnownTasks()
        self._writer = PredictionWriter(api, project, version, patience=patience)
        self._tasks = 0  # that the project has, as far as they're known
        self._predictions: int | None = None  # that it had
        self._last = 0  # the highest number of a task that is known
        self._own: list[tuple[int, int]] = []  # first and last number of tasks that were made
        self._unsure = False  # whether what was sent last has arrived

    def look(self, on_tasks: Callable[[int], object] = bool) -> None:
        """Find out what the project has; tell how many more tasks were looked at."""
        self._predictions = self._api.project(self._project).total_predictions_number
        # Of which versions a task has predictions is listed only where a version is asked for.
        listed = self._api.tasks(self._project, version=self._version)
        having = {task.id for task in listed if self._api.has_version(task, self._version)}
        for task in self._api.tasks(self._project):
            self._see(task, has=task.id in having)
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
            known = self._known.take(image.place, image.item_id)
            if known is None:
                self._make(new.add(self._task(image, prediction)))
            elif known.has or prediction is None:
                self.pushed.there += 1
                self._on_images(1)
            else:
                self._write(old.add((known.task, prediction)))
        self._make(new.rest())
        self._write(old.rest())
        self._patience.run(self._finish)

    def _see(self, task: Task, *, has: bool = False) -> None:
        self._tasks += 1
        self._last = max(self._last, task.id)
        place, item = self._value.place_or_none(task.data), task.data.get(ITEM)
        if isinstance(place, str):
            self._known.add(place, item if isinstance(item, str) else None, task.id, has=has)

    def _task(self, image: Image, prediction: Prediction) -> dict[str, Any]:
        data = self._value.data(image.place) | {ITEM: image.item_id}
        return {"data": data, "predictions": [prediction] if prediction else []}

    def _make(self, tasks: list[dict[str, Any]]) -> None:
        if tasks:
            self._patience.run(lambda: self._import(tasks))
            self.pushed.made += len(tasks)
            self._on_images(len(tasks))

    def _import(self, tasks: list[dict[str, Any]]) -> None:
        """Make tasks, those that didn't arrive if nobody knows which did."""
        if self._unsure:
            for task in self._api.tasks(self._project, after=self._last):
                self._see(task)
            self._unsure = False
            tasks = [task for task in tasks if not self._arrived(task["data"])]
            if not tasks:
                return
        try:
            ids = self._api.import_tasks(self._project, tasks)
        except ServiceError:
            self._unsure = True
            raise
        self._tasks += len(tasks)
        if ids:
            self._own.append((min(ids), max(ids)))
            self._last = max(self._last, *ids)

    def _arrived(self, data: Mapping[str, Any]) -> bool:
        return self._known.take(self._value.place(data), data[ITEM], own=True) is not None

    def _write(self, predictions: list[tuple[int, Mapping[str, Any]]]) -> None:
        if predictions:
            before = self._writer.count.written, self._writer.count.there
            self._writer.write(predictions)
            self.pushed.written += self._writer.count.written - before[0]
            self.pushed.there += self._writer.count.there - before[1]
            self._on_images(len(predictions))

    def _finish(self) -> None:
        """Take out what is there twice, as after a push that was killed while its last slice ran.

        That there's something shows by the project's numbers.
        """
        if not self.pushed.made and not self.pushed.written:
            return
        now = self._api.project(self._project)
        if (now.task_number or 0) > self._tasks:
            self._delete_doubled()
        sent = self.pushed.made + self.pushed.written
        if (now.total_predictions_number or 0) > (self._predictions or 0) + sent:
            self._writer.finish(suspected=True)
            self.pushed.doubled += self._writer.count.doubled

    def _delete_doubled(self) -> None:
        """Delete twins of tasks that were made here: all but the oldest, and annotated ones.

        Whoever else pushes at the same time deletes the same ones, so one is always left.
        """
        twins: dict[int, list[Task]] = {}
        own: set[int] = set()
        for task in self._api.tasks(self._project):
            place, item = self._value.place_or_none(task.data), task.data.get(ITEM)
            if isinstance(place, str) and isinstance(item, str):
                twins.setdefault(hash((place, item)), []).append(replace(task, data={}))
                if self._is_own(task.id):
                    own.add(hash((place, item)))
        for name in own:
            found = sorted(twins[name], key=lambda task: (not task.total_annotations, task.id))
            for task in found[1:]:
                if not task.total_annotations:
                    self._api.delete_task(task.id)
                    self.pushed.doubled += 1

    def _is_own(self, task: int) -> bool:
        return any(first <= task <= last for first, last in self._own)
