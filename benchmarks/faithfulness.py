"""Faithfulness studies of photographs in S3 beside the bare forward passes that they need, in turn.

A request of eight images goes from the message to the stored answer as in a worker: files are
fetched and decoded, 63 variants of each image go through the model, and heads are permuted. The
bare passes are as many images that lie ready in memory, in batches of the same size, through the
same engine. `ROUNDS=3` for fewer, `MODELS=Small` for other models.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.compute as pc

from benchmarks import nets, photographs
from camfleet import Client
from camfleet.audit.studies import sample
from camfleet.broker.requests import HeldRequest
from camfleet.contract.lanes import BULK_QUEUE, INTERACTIVE_QUEUE
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.contract.studies import FaithfulnessAnswer, FaithfulnessStudy, StudyRequest
from camfleet.interactive.register import Models
from camfleet.jobstore import keys, objects
from camfleet.local.stack import LocalStack
from camfleet_worker.pipeline.image import Query
from camfleet_worker.process.admission import Admission
from camfleet_worker.process.runtime import configure
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.services import Services

ROUNDS = int(os.environ.get("ROUNDS", "7"))
MODELS = tuple(os.environ.get("MODELS", "EfficientNetLite0,MobileNetV2,ResNet50").split(","))
PHOTOS = 64
PASSES = 1 + 2 * (4 * 7 + 3)  # of an image: the whole one, and of each fill the curves and masks


class _Nobody:
    """The broker of a worker whose messages are called."""

    def send_chunk(self, ref: ChunkRef, lane: object) -> None: ...
    def send_request(self, held: HeldRequest) -> None: ...
    def give_up(self, held: HeldRequest) -> None: ...
    def store_answer(self, request_id: str, answer: dict[str, Any]) -> None: ...


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with LocalStack(folder / "stack", worker=False) as stack:
            os.environ.update(stack.environ)
            configure(stack.settings)
            worker = Services(
                stack.settings,
                name="celery@bench",
                broker=_Nobody(),
                admission=Admission({INTERACTIVE_QUEUE: 1, BULK_QUEUE: 1}, Counter),
                shutdown=Shutdown(1),
            )
            with Client(stack.settings) as client:
                uris = photographs.upload(client.storage, PHOTOS)
                for model in MODELS:
                    yield _measured(worker, client, nets.write(model, folder / model), uris)
            worker.close()


def _measured(worker: Services, client: Client, card: Path, uris: list[str]) -> dict[str, Any]:
    Models(client.storage, lambda digest, _timeout: worker.check(digest)).add(card)
    model = card.parent.name
    record = _explained(worker, client, model, uris)
    request = _request(client, record)
    explainer = worker.cache.get(Query.of(record.models[0], record).key)
    images = np.random.default_rng(0).random((explainer.batch_size, *explainer.shape), np.float32)

    def study() -> tuple[float, float]:
        client.storage.delete([keys.study(request)])
        with _clock() as times:
            worker.studies.make(request)
        return times[0], times[1]

    def bare() -> tuple[float, float]:
        left = PASSES * len(request.rows)
        with _clock() as times:
            while left > 0:
                explainer.predict(images[:left])
                left -= len(images)
        return times[0], times[1]

    study()
    bare()
    answer = objects.read_document(client.storage, keys.study(request), FaithfulnessAnswer)
    failed = [row.error for row in answer.rows if row.error]
    if failed:
        raise RuntimeError(f"nothing to measure: {failed[0]}")
    turns = [(study(), bare()) for _ in range(ROUNDS)]
    own, passes = (median(turn[way][0] for turn in turns) for way in (0, 1))
    count = PASSES * len(request.rows)
    ratios = [bare_turn[0] / own_turn[0] for own_turn, bare_turn in turns]
    return {
        "name": f"faithfulness_{model}",
        "images": len(request.rows),
        "batch_size": explainer.batch_size,
        "images_per_second": round(len(request.rows) / own, 2),
        "passes_per_second": round(count / own, 1),
        "bare_passes_per_second": round(count / passes, 1),
        "ratio_to_bare_passes": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_time_to_bare_passes": round(median(one[1] / two[1] for one, two in turns), 3),
    }


@contextmanager
def _clock() -> Iterator[list[float]]:
    """Give the seconds and the CPU seconds of the block."""
    times: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    yield times
    times += [time.perf_counter() - start, time.process_time() - cpu]


def _explained(worker: Services, client: Client, model: str, uris: list[str]) -> JobRecord:
    job = client.submit(uris, models=[model], job_id=f"faithful-{model}", pictures=[], force=True)
    record = job.record()
    for ref in record.refs():
        worker.chunks.run(ref)
    return record


def _request(client: Client, record: JobRecord) -> StudyRequest:
    """Return a request for eight images whose map speaks for some place, however probable."""
    chosen = sample.choose(
        record,
        client.storage,
        0,
        8,
        columns=("status",),
        wanted=lambda table: pc.equal(table["status"], "ok").to_numpy(),
    )
    (request,) = sample.requests(chosen, FaithfulnessStudy())
    return request
