"""Deleting objects: what is listed is deleted at once, a thousand at a time."""

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from camfleet.jobs.retention.candidates import Candidates
from camfleet.jobs.retention.freed import Retired
from camfleet.jobstore import keys
from camfleet.storage.storage import Listed, Storage

PAGE = 1000  # objects that a store lists, or deletes, in one go


class Sweeper:
    """Deletes objects, unless `dry_run`, and counts them in `retired`. Safe to share by threads.

    `on_progress` is told how many have been deleted so far.
    """

    def __init__(
        self,
        storage: Storage,
        retired: Retired,
        on_progress: Callable[[int], object],
        *,
        dry_run: bool,
    ) -> None:
        self._storage = storage
        self._retired = retired
        self._on_progress = on_progress
        self._dry_run = dry_run
        self._lock = threading.Lock()

    def delete(self, found: Iterable[Listed]) -> None:
        """Delete objects as they come."""
        stream = iter(found)
        while batch := list(islice(stream, PAGE)):
            if not self._dry_run:
                self._storage.delete([each.key for each in batch])
            with self._lock:
                self._retired.add(batch)
                self._on_progress(self._retired.objects)

    def delete_candidates(self, candidates: Candidates, before: float) -> None:
        """Delete the candidates that are older than a time, by the store's clock.

        Each page of the listing is new when it's dealt with: a worker that has just written a
        picture anew has made it young.
        """
        for prefix in (keys.pictures(), keys.uploads()):
            for page in self._pages(candidates, prefix):
                doomed = candidates.among([each.key for each in page])
                found = [each for each in page if each.key in doomed]
                old = [each for each in found if each.modified_at < before]
                self._retired.younger += len(found) - len(old)
                self.delete(old)

    def _pages(self, candidates: Candidates, prefix: str) -> Iterator[list[Listed]]:
        """Yield pages of a listing, passing over those in which there's no candidate."""
        after = ""
        while (first := candidates.next(prefix, after)) is not None:
            page = list(islice(self._storage.objects(prefix, after=first[:-1]), PAGE))
            if not page:
                return
            yield page
            after = max(page[-1].key, first)
