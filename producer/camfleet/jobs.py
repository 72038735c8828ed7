"""One job, seen from the producer: submit, status, watch, results."""

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from camfleet import contract, keys
from camfleet.contract import ChunkRef, Item, JobRecord, Result
from camfleet.errors import InvalidRequest, ObjectMissing, UnknownJob
from camfleet.ledger import Ledger, Progress
from camfleet.messaging import broker_errors, send_chunk
from camfleet.recovery import Verification, verify
from camfleet.settings import Settings
from camfleet.storage import Storage
from camfleet.wire import decode_json, encode_json

POLL_SECONDS = 0.5
_PUBLISH_BATCH = 500


class Job:
    """A submitted job."""

    def __init__(self, job_id: str, storage: Storage, ledger: Ledger) -> None:
        self.id = job_id
        self._storage = storage
        self._ledger = ledger

    def status(self) -> Progress:
        """Return the exact totals so far; raise `UnknownJob`."""
        return self._ledger.progress(self.id)

    def watch(self, *, timeout: float | None = None) -> Iterator[Progress]:
        """Yield the progress, now and at every change, until the job is complete or cancelled.

        Ends early, without an error, when `timeout` seconds have passed.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        last = None
        while True:
            progress = self.status()
            seen = progress.done + progress.in_work
            if seen != last or progress.ended:
                yield progress
            if progress.ended or (deadline is not None and time.monotonic() > deadline):
                return
            last = seen
            time.sleep(POLL_SECONDS)

    def wait(self, *, timeout: float | None = None) -> Progress:
        """Return the progress at the end of the job, or after `timeout` seconds."""
        *_, last = self.watch(timeout=timeout)
        return last

    def cancel(self) -> None:
        """Let no further batch start; what is done stays and is counted."""
        self._ledger.cancel(self.id)

    def verify(self) -> Verification:
        """Read all parts again and say whether every image is there exactly once."""
        return verify(self.record(), self._storage, self._ledger)

    def record(self) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return read_record(self._storage, self.id)

    def results(self) -> Iterator[Result]:
        """Yield the results of all finished chunks, model by model, in the manifest's order."""
        from camfleet import tables

        record = self.record()
        for ref in record.refs():
            try:
                data = self._storage.get(keys.results_part(record, ref)).data
            except ObjectMissing:
                continue
            yield from tables.read_results(data)


def read_record(storage: Storage, job_id: str) -> JobRecord:
    """Return a job's record from storage; raise `UnknownJob`."""
    _check_id(job_id)
    try:
        return decode_json(storage.get(keys.job(job_id)).data, JobRecord)
    except ObjectMissing as error:
        raise UnknownJob(f"no job {job_id!r} in {storage.uri('jobs/')}") from error


def new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def write_manifest(
    storage: Storage,
    job_id: str,
    items: Iterable[Item],
    chunk_size: int,
    on_progress: Callable[[int], None],
) -> tuple[int, int]:
    """Stream `items` into manifest parts of `chunk_size`; return the numbers of items and parts.

    `on_progress` is told the number of items written so far. When the source breaks, the parts
    written so far are taken away again.
    """
    from camfleet import tables

    _check_id(job_id)
    if storage.exists(keys.job(job_id)):
        raise InvalidRequest(f"job {job_id!r} exists; choose another id, or watch that one")
    stream = iter(items)
    written = part = 0
    try:
        while chunk := list(itertools.islice(stream, chunk_size)):
            data = tables.write_table(chunk, tables.MANIFEST)
            storage.put(keys.manifest_part(job_id, part), data, "application/vnd.apache.parquet")
            written, part = written + len(chunk), part + 1
            on_progress(written)
    except InvalidRequest:
        storage.delete([keys.manifest_part(job_id, number) for number in range(part)])
        raise
    if not written:
        raise InvalidRequest("there is no image to explain: the source is empty")
    return written, part


def start(record: JobRecord, app: Any, storage: Storage, ledger: Ledger, settings: Settings) -> Job:
    """Write the job's record, open its ledger and send its messages, in this order."""
    storage.put(keys.job(record.job_id), encode_json(record), "application/json")
    ledger.open(record)
    publish(app, record.refs(), settings)
    return Job(record.job_id, storage, ledger)


def publish(app: Any, refs: Iterable[ChunkRef], settings: Settings) -> None:
    """Send the messages of chunks, in batches."""
    with (
        broker_errors(settings),
        app.producer_or_acquire() as producer,
        producer.batch(_PUBLISH_BATCH),
    ):
        for ref in refs:
            send_chunk(app, ref, producer)


def _check_id(job_id: str) -> None:
    if not re.fullmatch(contract.JOB_ID, job_id):
        raise InvalidRequest(
            f"{job_id!r} is no job id: letters, digits, dot, dash and underscore, at most 100"
        )
