"""Heartbeats: each worker publishes its state every few seconds, and is forgotten if it stops.

A heartbeat is two documents, written together. Version 0.1.0 reads the one at `keys.worker`, and
refuses unknown fields: it must never change. Whatever came later is in the one at `keys.about`,
whose readers ignore what they don't know.
"""

import logging
import socket

import msgspec
from msgspec.structs import asdict

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import Wire, decode_json, encode_json
from camfleet.contract.outputs import DEFAULT_PRECISION, PRECISIONS, Precision
from camfleet.contract.times import Seconds
from camfleet.errors import InvalidRequest
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 3.0
_KEPT_SECONDS = 15
_MOST_WORKERS = 10_000
_MOST_BYTES = 2**20  # of a heartbeat
_PAGE = 100  # that are read at a time


class ChunkState(Wire, frozen=True, kw_only=True):
    """A chunk in work, and how many of its images are explained."""

    job_id: str
    model: int
    part: int
    retry: int
    attempt: int
    explained: int


def rate_key(model: str, precision: Precision) -> str:
    """Return under what name the rate of a model, id@version, is known in a precision."""
    return model if precision == DEFAULT_PRECISION else f"{model} {precision}"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process has measured since its start, of jobs' images."""

    rates: dict[str, float] = {}  # images per second, by `rate_key`
    image_bytes: float | None = None  # mean size of a file
    picture_bytes: float | None = None  # mean size of a picture


class HeartbeatDocument(Wire, frozen=True, kw_only=True):
    """The document at `keys.worker`: exactly the fields of version 0.1.0."""

    name: str
    pid: int
    started_at: Seconds
    device: str
    models: tuple[str, ...]  # id@version of those in memory
    chunks: tuple[ChunkState, ...]
    interactive: int  # requests in work
    images: int  # explained since the start
    images_per_second: float
    trouble: str | None


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """The document at `keys.about`. Fields may be added: readers ignore unknown ones."""

    version: str | None = None
    forms: int = 1
    waits_for: str | None = None
    file_roots: tuple[str, ...] | None = None
    signs_callbacks: bool | None = None
    s3_roots: tuple[str, ...] | None = None
    lacks: tuple[str, ...] | None = None
    report_roots: tuple[str, ...] | None = None
    slots: int | None = None
    measured: Measured | None = None
    precisions: tuple[str, ...] = ()
    cloud_roots: dict[str, tuple[str, ...]] | None = None


class WorkerState(HeartbeatDocument, frozen=True, kw_only=True):
    """One worker process. `trouble` says why it takes no work, None if it's well.

    `images_per_second` is measured over the last few heartbeats. `version` is None for workers
    of 0.1.0, which don't publish it; `newest_form` is the newest form of `contract.codec` that
    the worker reads. `waits_for` says what keeps it waiting at the moment, such as a store that
    is full, None if nothing does. `file_roots` are the folders that it reads images from,
    `s3_roots` the buckets and prefixes besides the settings' bucket, `signs_callbacks` says whether
    it has a secret to sign them with, `lacks` in words what its machine lacks for safety: parts of
    the confinement in which models are loaded, fixes of Python. None where it doesn't say, `()`
    where nothing is missing. `report_roots`
    are the places besides jobs' folders where it writes reports, None where it writes none. `slots`
    is how many chunks it runs side by side, and `measured` how fast; None for workers of 0.1.0.
    `precisions` are those besides float32 in which it can compute. `cloud_roots` are like
    `s3_roots`, of the stores of other clouds, by the schemes of URIs.
    """

    version: str | None = None
    newest_form: int = 1
    waits_for: str | None = None
    file_roots: tuple[str, ...] | None = None
    signs_callbacks: bool | None = None
    s3_roots: tuple[str, ...] | None = None
    lacks: tuple[str, ...] | None = None
    report_roots: tuple[str, ...] | None = None
    slots: int | None = None
    measured: Measured | None = None
    precisions: tuple[Precision, ...] = ()
    cloud_roots: dict[str, tuple[str, ...]] | None = None


class Heartbeats:
    """The states of all workers. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings, HEARTBEAT_SECONDS)

    def publish(self, state: WorkerState, owner: str, *, takes_first: bool = False) -> None:
        """Publish a worker's state, which expires after some seconds.

        `owner` is the process as its leases name it; `takes_first` says whether it keeps a slot for
        first chunks of jobs.
        """
        fields = asdict(state)
        about = _About(
            version=fields.pop("version"),
            forms=fields.pop("newest_form"),
            waits_for=fields.pop("waits_for"),
            file_roots=fields.pop("file_roots"),
            signs_callbacks=fields.pop("signs_callbacks"),
            s3_roots=fields.pop("s3_roots"),
            lacks=fields.pop("lacks"),
            report_roots=fields.pop("report_roots"),
            slots=fields.pop("slots"),
            measured=fields.pop("measured"),
            precisions=fields.pop("precisions"),
            cloud_roots=fields.pop("cloud_roots"),
        )
        document = encode_json(HeartbeatDocument(**fields))
        with self._redis.pipeline() as pipe:
            pipe.set(keys.worker(state.name), document, ex=_KEPT_SECONDS)
            pipe.set(keys.about(state.name), msgspec.json.encode(about), ex=_KEPT_SECONDS)
            pipe.set(keys.alive(owner), 1, ex=_KEPT_SECONDS)
            if takes_first and not state.trouble:
                for precision in (DEFAULT_PRECISION, *state.precisions):
                    pipe.set(keys.takes_first(precision), 1, ex=_KEPT_SECONDS)
            pipe.execute()

    def forget(self, name: str, owner: str) -> None:
        """Forget a worker that has ended."""
        self._redis.run("DEL", keys.worker(name), keys.about(name), keys.alive(owner))

    def workers(self) -> list[WorkerState]:
        """Return the workers with a recent heartbeat, sorted by name."""
        found = sorted(set(self._redis.scan(keys.worker("*"))))
        if len(found) > _MOST_WORKERS:
            logger.warning(
                "Redis has %d heartbeats: all but %d are ignored", len(found), _MOST_WORKERS
            )
        names = [key.removeprefix(keys.worker("")) for key in found[:_MOST_WORKERS]]
        documents = self._texts(list(map(keys.worker, names)))
        abouts = self._texts(list(map(keys.about, names)))
        pairs = zip(documents, abouts, strict=True)
        read = (_merge(document, about) for document, about in pairs if document)
        return [state for state in read if state]

    def _texts(self, wanted: list[str]) -> list[str]:
        """Return the beginnings of texts, empty where there is none."""
        found = []
        for first in range(0, len(wanted), _PAGE):
            with self._redis.pipeline(transaction=False) as pipe:
                for key in wanted[first : first + _PAGE]:
                    pipe.getrange(key, 0, _MOST_BYTES)
                found += pipe.execute(raise_on_error=False)
        for answer in found:
            if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
                with self._redis.errors():
                    raise answer
        return [answer if isinstance(answer, str) else "" for answer in found]

    def close(self) -> None:
        self._redis.close()


def of_host(workers: list[WorkerState], host: str | None = None) -> list[WorkerState]:
    """Return the workers of a host, of this one by default; their names are node@host:pid."""
    wanted = host or socket.gethostname()
    return [
        worker for worker in workers if worker.name.rpartition("@")[2].rpartition(":")[0] == wanted
    ]


def _merge(document: str, about: str | None) -> WorkerState | None:
    """Return a worker's state, None where the document is no worker's."""
    try:
        state = decode_json(document.encode(), HeartbeatDocument)
    except (InvalidRequest, RecursionError) as error:
        logger.warning("a heartbeat in Redis is no worker's: %s", error)
        return None
    beside = _read_about(about)
    return WorkerState(
        **asdict(state),
        version=beside.version,
        newest_form=beside.forms,
        waits_for=beside.waits_for,
        file_roots=beside.file_roots,
        signs_callbacks=beside.signs_callbacks,
        s3_roots=beside.s3_roots,
        lacks=beside.lacks,
        report_roots=beside.report_roots,
        slots=beside.slots,
        measured=beside.measured,
        precisions=tuple(one for one in PRECISIONS if one in beside.precisions),
        cloud_roots=beside.cloud_roots,
    )


def _read_about(text: str | None) -> _About:
    """Decode the second document; one that is missing or makes no sense says nothing."""
    try:
        return msgspec.json.decode(text or "{}", type=_About)
    except (msgspec.DecodeError, RecursionError):
        return _About()
