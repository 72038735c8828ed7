"""What the live workers say of themselves, for whoever is about to submit a job."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from camfleet.broker.heartbeats import WorkerState
from camfleet.contract.codec import VERSIONS

_NO_WORKER = (
    "no worker is alive: the job waits until one starts "
    "(camfleet up, or celery -A camfleet_worker worker)"
)


class Fleet:
    """The workers that live when a job is submitted.

    `local_files` says whether workers are to read the files that the sources name; `roots` are the
    folders from which they do, None where that isn't known, as workers of 0.1.0 don't say it.
    """

    def __init__(self, workers: Sequence[WorkerState], *, local_files: bool = True) -> None:
        self.workers = tuple(workers)
        self.roots = _roots(self.workers) if local_files else None
        # What most URIs begin with that are surely not outside: to ask for each takes time.
        self.prefixes = _beginnings(self.roots)

    @property
    def can_answer(self) -> bool:
        """Return whether a worker lives that takes work."""
        return any(not worker.trouble for worker in self.workers)

    def warnings(self, form: int = 1) -> Iterator[str]:
        """Yield why a job of this form would have to wait."""
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

    def callback_error(self, callback: str | None) -> str | None:
        """Return why a callback would never be sent, or None."""
        if not callback or not self.workers or any(_may_sign(worker) for worker in self.workers):
            return None
        return (
            "the callback would never be sent: no worker has a CAMFLEET_WEBHOOK_SECRET to sign it "
            "with"
        )

    def is_outside(self, uri: str) -> bool:
        """Return whether a local file lies in no folder that any live worker reads from."""
        if uri.startswith(self.prefixes):
            return False
        if uri.startswith("file:"):
            uri = unquote(urlsplit(uri).path)
        elif not uri.startswith("/"):
            return False
        return not uri.startswith(self.prefixes) and not self._is_inside(*os.path.split(uri))

    def _is_inside(self, folder: str, name: str) -> bool:
        return f"{_resolve(folder)}/{name}".startswith(self.prefixes)


@lru_cache(maxsize=4096)
def _resolve(folder: str) -> str:
    return os.path.realpath(folder)


def _roots(workers: Sequence[WorkerState]) -> tuple[str, ...] | None:
    """Return the folders that workers read from, None where not all of them say it."""
    said = [worker.file_roots for worker in workers]
    if not said or None in said:
        return None
    return tuple(dict.fromkeys(root for roots in said for root in roots or ()))


def _beginnings(roots: Sequence[str] | None) -> tuple[str, ...]:
    """Return what a URI begins with that is in one of the folders, or no local file."""
    if roots is None:
        return ("",)
    return ("s3://", "http://", "https://", *(f"{root.rstrip('/')}/" for root in roots))


def _may_sign(worker: WorkerState) -> bool:
    return worker.signs_callbacks is not False
