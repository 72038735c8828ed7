"""What the live workers say of themselves, for whoever is about to submit a job."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from camfleet.broker.backlog import QueueState
from camfleet.broker.heartbeats import WorkerState
from camfleet.contract.codec import VERSIONS
from camfleet.contract.lanes import queues_in
from camfleet.contract.outputs import DEFAULT_PRECISION, PRECISIONS, Precision
from camfleet.errors import CallerError, ConfigurationError, InvalidRequest, SourceForbidden
from camfleet.jobstore.s3_roots import CloudRoots, ReportRoots, S3Roots
from camfleet.registry.precision import nobody_computes
from camfleet.storage.clouds import CLOUDS

STORES = ("s3://", *(f"{scheme}://" for scheme in CLOUDS))  # what URIs of objects begin with

_NO_WORKER = (
    "no worker is alive: the job waits until one starts "
    "(camfleet up, or celery -A camfleet_worker worker)"
)
NO_REPORTS = (
    "no live worker has what reports take (Jinja2 and NumPy, of the extras `worker` and `report`)"
)


class Fleet:
    """The workers that live when a job is submitted.

    `bucket` is the settings' own. `local_files` says whether workers are to read the files that the
    sources name; `roots` are the folders from which they do, None where that isn't known, as
    workers of 0.1.0 don't say it. Likewise `objects` and `clouds` are those that workers read.
    """

    def __init__(
        self, workers: Sequence[WorkerState], bucket: str, *, local_files: bool = True
    ) -> None:
        self.workers = tuple(workers)
        self.roots = _union(worker.file_roots for worker in self.workers) if local_files else None
        s3_roots = _union(worker.s3_roots for worker in self.workers)
        self.objects = None if s3_roots is None else S3Roots(bucket, s3_roots)
        self.clouds = _clouds(self.workers)
        self._reports = [worker.report_roots for worker in self.workers]
        self._bucket = bucket
        # What most URIs begin with that are surely not outside: to ask for each takes time.
        self.prefixes = _beginnings(self.roots, objects=self.objects is None)

    @property
    def can_answer(self) -> bool:
        """Return whether a worker lives that takes work."""
        return any(not worker.trouble for worker in self.workers)

    def warnings(self, form: int = 1, precision: Precision = DEFAULT_PRECISION) -> Iterator[str]:
        """Yield why a job of this form and precision would have to wait."""
        if not self.workers:
            yield _NO_WORKER
        elif not self.can_answer:
            first = self.workers[0]
            yield f"no worker takes work: {first.name}: {first.trouble}"
        elif not any(worker.newest_form >= form for worker in self.workers):
            yield (
                f"no live worker reads this job, which needs camfleet {VERSIONS[form]} or newer: "
                "it waits until one starts"
            )
        elif precision != DEFAULT_PRECISION and not self.computes(precision):
            yield f"the job waits: {nobody_computes(precision)}"

    def able(self, form: int, precision: Precision) -> list[WorkerState]:
        """Return the workers that take chunks of a job of this form and precision."""
        return [
            worker
            for worker in self.workers
            if not worker.trouble
            and worker.newest_form >= form
            and (precision == DEFAULT_PRECISION or precision in worker.precisions)
        ]

    def computes(self, precision: Precision) -> bool:
        """Return whether a worker that takes work computes in a precision besides float32."""
        return any(precision in worker.precisions and not worker.trouble for worker in self.workers)

    def unserved(self, queues: Iterable[QueueState]) -> Iterator[str]:
        """Yield what waits in the queues for workers of a kind of which none is alive."""
        for precision in PRECISIONS:
            theirs = queues_in(precision)
            waiting = sum(queue.depth for queue in queues if queue.name in theirs)
            if waiting and precision != DEFAULT_PRECISION and not self.computes(precision):
                yield f"{waiting} messages wait: {nobody_computes(precision)}"

    def callback_error(self, callback: str | None) -> str | None:
        """Return why a callback would never be sent, or None."""
        if not callback or not self.workers or any(_may_sign(worker) for worker in self.workers):
            return None
        return (
            "the callback would never be sent: no worker has a CAMFLEET_WEBHOOK_SECRET to sign it "
            "with"
        )

    def report_error(self, place: str | None) -> CallerError | None:
        """Return why what follows a job's end would never be done, or None.

        `place` is where its report is to lie, None for its own folder.
        """
        if not self.workers:
            return None
        roots = [root for roots in self._reports if roots is not None for root in roots]
        if not any(roots is not None for roots in self._reports):
            return ConfigurationError(f"nothing would follow the job's end: {NO_REPORTS}")
        return ReportRoots(self._bucket, roots).error(place) if place else None

    def is_outside(self, uri: str) -> bool:
        """Return whether no live worker reads the local file or the object at `uri`."""
        if uri.startswith(self.prefixes):
            return False
        if uri.startswith(STORES):
            return self._object_error(uri) is not None
        if uri.startswith("file:"):
            uri = unquote(urlsplit(uri).path)
        elif not uri.startswith("/"):
            return False
        return not uri.startswith(self.prefixes) and not self._is_inside(*os.path.split(uri))

    def outside_error(self, uri: str) -> CallerError:
        """Return what is wrong with a URI that is outside."""
        folders = ", ".join(self.roots or ()) or "none"
        return self._object_error(uri) or SourceForbidden(
            f"{uri} is in no folder that workers read from ({folders}): add it to their "
            "CAMFLEET_FILE_ROOTS (camfleet up --allow DIR), or upload the images (--upload)"
        )

    def _object_error(self, uri: str) -> CallerError | None:
        scheme = uri.partition("://")[0]
        roots = self.objects if scheme == "s3" else self.clouds.get(scheme)
        if roots is None:
            return None
        try:
            return roots.error(uri)
        except InvalidRequest as error:
            return error

    def _is_inside(self, folder: str, name: str) -> bool:
        return f"{_resolve(folder)}/{name}".startswith(self.prefixes)


@lru_cache(maxsize=4096)
def _resolve(folder: str) -> str:
    return os.path.realpath(folder)


def _union(said: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Return what any worker reads from, None where there's none or not all of them say it."""
    known = list(said)
    if not known or None in known:
        return None
    return tuple(dict.fromkeys(root for roots in known for root in roots or ()))


def _clouds(workers: Iterable[WorkerState]) -> dict[str, CloudRoots]:
    """Return what any worker reads of other clouds' stores; empty as `_union` returns None."""
    said = [worker.cloud_roots for worker in workers]
    if not said or None in said:
        return {}
    known = {scheme: _union((each or {}).get(scheme, ()) for each in said) for scheme in CLOUDS}
    return CloudRoots.among({scheme: roots or () for scheme, roots in known.items()})


def _beginnings(roots: Sequence[str] | None, *, objects: bool) -> tuple[str, ...]:
    """Return what a URI begins with that isn't judged, or is in one of the folders."""
    unjudged = ("http://", "https://", *(("s3://",) if objects else ()))
    if roots is None:
        return (*unjudged, "/", "file:")
    return (*unjudged, *(f"{root.rstrip('/')}/" for root in roots))


def _may_sign(worker: WorkerState) -> bool:
    return worker.signs_callbacks is not False
