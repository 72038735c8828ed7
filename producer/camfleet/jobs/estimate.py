"""What a job will take: time, requests to the store and bytes, from what live workers measure."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import unquote, urlsplit

from camfleet.broker.heartbeats import WorkerState, rate_key
from camfleet.contract.codec import Wire, decode
from camfleet.contract.outputs import DEFAULT_PRECISION, Outputs, Precision
from camfleet.contract.targets import parse_target
from camfleet.errors import CamfleetError
from camfleet.storage.place import split_uri
from camfleet.storage.storage import Storage

_READS = 12  # of a job as such, mostly of its record and its models; benchmarks/scaling.py counts


class Estimate(Wire, frozen=True, kw_only=True):
    """What a job takes, about; None where nobody has measured it, which `unknown` says.

    `seconds` is for a fleet that does nothing else. Reads and writes are requests to the object
    store, of producer and workers together; `bytes_written` are those of the pictures.
    """

    seconds: float | None
    images_per_second: float | None
    reads: int
    writes: int
    bytes_read: int | None
    bytes_written: int | None
    unknown: tuple[str, ...]


class Estimator:
    """Estimates one job by the workers that take its chunks."""

    def __init__(
        self, order: Mapping[str, Any], models: Sequence[str], workers: Sequence[WorkerState]
    ) -> None:
        self._order = order
        self._models = models
        self._workers = workers
        self._precision: Precision = order.get("precision") or DEFAULT_PRECISION
        self._unknown: list[str] = []

    def estimate(
        self, items: int, parts: int, samples: Sequence[str], storage: Storage
    ) -> Estimate:
        """Return what so many images in so many parts take; `samples` are URIs of some of them."""
        images = items * len(self._models)
        chunks = parts * len(self._models)
        pictures = images * self._pictures()
        packed = bool(self._order["pack"]) and pictures
        stored = sum(uri.startswith("s3://") for uri in samples) / len(samples) if samples else 0.0
        seconds = self._seconds(items, parts)
        written = self._written(pictures)
        return Estimate(
            seconds=None if seconds is None else round(seconds, 1),
            images_per_second=float(f"{images / seconds:.3g}") if seconds else None,
            # Of a chunk a manifest part, and whether it was done.
            reads=round(images * stored) + 2 * chunks + _READS,
            writes=(chunks if packed else pictures) + chunks + parts + 2,
            bytes_read=self._read(images, samples, storage),
            bytes_written=written,
            unknown=tuple(self._unknown),
        )

    def _pictures(self) -> int:
        """Return how many pictures an image has, as far as the order says."""
        target = parse_target(self._order["target"])
        if target.kind == "above":
            self._unknown.append("how many classes reach the target's probability: counted is one")
        return target.count * len(decode(self._order["outputs"], Outputs).pictures)

    def _seconds(self, items: int, parts: int) -> float | None:
        """Return how long the fleet takes for all models, one after the other."""
        found = [self._seconds_of(model, items, parts) for model in self._models]
        return None if None in found else sum(filter(None, found))

    def _seconds_of(self, model: str, items: int, parts: int) -> float | None:
        measured = [worker.measured for worker in self._workers]
        key = rate_key(model, self._precision)
        rates = [own.rates[key] for own in measured if own and own.rates.get(key, 0) > 0]
        if not rates:
            self._unknown.append(
                f"how long it takes: no live worker has explained two chunks of {key} yet"
            )
            return None
        if len(rates) < len(self._workers):
            self._unknown.append(
                f"how fast {len(self._workers) - len(rates)} of {len(self._workers)} workers are "
                f"with {key}: taken is the mean of the others"
            )
        return items / (mean(rates) * max(1, min(len(self._workers), parts)))

    def _written(self, pictures: int) -> int | None:
        if not pictures:
            return 0
        sizes = _known(own.picture_bytes for worker in self._workers if (own := worker.measured))
        if not sizes:
            self._unknown.append("how large pictures are: no live worker has written any")
            return None
        return round(pictures * mean(sizes))

    def _read(self, images: int, samples: Sequence[str], storage: Storage) -> int | None:
        """Return the bytes of all images: from samples' sizes, or from what workers have read."""
        sizes = _known(_size(uri, storage) for uri in samples)
        if not sizes:
            sizes = _known(own.image_bytes for worker in self._workers if (own := worker.measured))
            why = "taken is the mean of others that workers have read" if sizes else "nobody knows"
            self._unknown.append(f"how large the images are, which can't be looked at here: {why}")
        return round(images * mean(sizes)) if sizes else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and value >= 0]


def _size(uri: str, storage: Storage) -> float | None:
    """Return the bytes of a local file or an object, None where it can't be looked at."""
    with suppress(CamfleetError, OSError, ValueError):
        if uri.startswith("s3://"):
            first = next(storage.objects(uri), None)  # what begins like it comes after it
            return first.nbytes if first and first.key == split_uri(uri)[1] else None
        if uri.startswith(("/", "file:")):
            path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
            return Path(path).stat().st_size
    return None
