"""Answers requests for studies: what to do for each kind, and where the answer lies."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from camfleet.contract.codec import Document, encode_json, sealed
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.outputs import Outputs
from camfleet.contract.records import ChunkRef, Item, JobRecord
from camfleet.contract.results import Result
from camfleet.contract.studies import FaithfulnessStudy, FloorStudy, StudyRequest
from camfleet.errors import (
    ImageUnreadable,
    InvalidRequest,
    ObjectChanged,
    ObjectDamaged,
    SourceUnreachable,
)
from camfleet.jobstore import keys, objects, parquet
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage
from camfleet_worker.models.build import ModelKey
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.image import ImageTask, Query, RunHooks
from camfleet_worker.pipeline.pipeline import Pipeline
from camfleet_worker.pipeline.stored_rows import StoredRows
from camfleet_worker.process.retrying import Insist
from camfleet_worker.studies import faithfulness, floor
from camfleet_worker.studies.study import StudiedRow, Study

_OUTPUTS = {
    FaithfulnessStudy: Outputs(kinds=()),
    FloorStudy: Outputs(kinds=("overlay",), max_side=0),  # which it takes the whole pictures of
}
_FORM = 2  # of answers
_KINDS: Mapping[type[Any], Callable[[Study], Document]] = {
    FaithfulnessStudy: faithfulness.measure,
    FloorStudy: floor.measure,
}


class Studies:
    """Studies rows of jobs with the models of one process. Safe to share by threads.

    `check` raises `WorkerStops` once the worker must stop.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        stored: StoredRows,
        pipeline: Pipeline,
        batcher: Batcher,
        cache: ModelCache[ModelKey, Explainer],
        insist: Insist,
        check: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._stored = stored
        self._pipeline = pipeline
        self._batcher = batcher
        self._cache = cache
        self._insist = insist
        self._check = check
        self.batches = 0  # that were begun: a study may take minutes

    def make(self, request: StudyRequest) -> tuple[ErrorInfo | None, ...]:
        """Write the answer to a request, unless it's there; return for each row None.

        Where the server of an image doesn't answer, nothing is done, and that is the row's error.
        Raises `ObjectChanged` where the part is another one by now, and what prevents all rows.
        """
        measure = _KINDS.get(type(request.study))
        if measure is None or not request.rows:
            raise InvalidRequest("this worker can't do this study, or it's of no rows")
        record = read_record(self._storage, request.chunk.job_id)
        key = keys.study(request)
        if self._storage.exists(key):
            return (None,) * len(request.rows)
        study = self._prepare(request, record)
        errors = tuple(row.image.error for row in study.rows)
        if any(isinstance(error, SourceUnreachable) for error in errors):
            return tuple(
                ErrorInfo(code=error.code, message=error.message)
                if isinstance(error, SourceUnreachable)
                else None
                for error in errors
            )
        answer = encode_json(sealed(measure(study), _FORM))
        with suppress(ObjectChanged):  # another worker has written it
            self._insist(lambda: self._storage.create(key, answer, "application/json"))
        return (None,) * len(request.rows)

    def _prepare(self, request: StudyRequest, record: JobRecord) -> Study:
        results = self._stored.read(record, request.chunk, request.digest, request.rows)
        query = replace(
            Query.of(record.models[request.chunk.model], record),
            outputs=_OUTPUTS[type(request.study)],
        )
        explainer = self._cache.get(query.key)
        items = self._items(record, request, results, explainer)
        images = [ImageTask(item, item.target or query.target) for item in items]
        hooks = RunHooks(interrupt=self._check, insist=self._insist)
        decode = self._pipeline.fetch(images, query, explainer, hooks)
        for result, image in zip(results, images, strict=True):
            if image.error is None and result.image_etag not in (None, image.etag):
                uri = result.image_uri
                image.error = ImageUnreadable(f"{uri} has changed since it was explained")
        rows = zip(request.rows, results, images, strict=True)
        return Study(
            request=request,
            record=record,
            query=query,
            explainer=explainer,
            batcher=self._batcher,
            rows=tuple(StudiedRow(*row) for row in rows),
            decode=decode,
            check=self._begin_batch,
            give_way=self._pipeline.give_way,
        )

    def _begin_batch(self) -> None:
        self._check()
        self.batches += 1

    def _items(
        self,
        record: JobRecord,
        request: StudyRequest,
        results: Sequence[Result],
        explainer: Explainer,
    ) -> list[Item]:
        """Return the items of rows, with the values of the model's other inputs if it has some."""
        inputs: dict[str, str | None] = {}
        if explainer.split.extras:
            inputs = self._inputs(record, request.chunk)
        missing = [result.item_id for result in results if result.item_id not in inputs]
        if explainer.split.extras and missing:
            raise ObjectDamaged(f"the manifest of {request.chunk} has no item {missing[0]!r}")
        return [
            Item(
                item_id=result.item_id,
                image_uri=result.image_uri,
                target=result.target,
                inputs=inputs.get(result.item_id),
            )
            for result in results
        ]

    def _inputs(self, record: JobRecord, chunk: ChunkRef) -> dict[str, str | None]:
        """Return the values of other inputs by item; refuse items that can't be told apart."""
        key = keys.manifest_part(record.job_id, chunk.part)
        with objects.naming(key):
            items = parquet.read_manifest(objects.read_part(self._storage, key).data)
        found: dict[str, str | None] = {}
        for item in items:
            if found.setdefault(item.item_id, item.inputs) != item.inputs:
                raise InvalidRequest(
                    f"{key} has item {item.item_id!r} with several values of the model's inputs: "
                    "give items ids of their own"
                )
        return found
