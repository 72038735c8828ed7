"""Retention: jobs are deleted, or their results, and what no job needs any more.

What jobs share, pictures by request and uploads, is marked and swept: whatever a job needs that
stays is taken out of what may go, and the rest goes if it's old enough. A job that is just being
written has young pictures, and so nothing of it goes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple, TypeVar

from camfleet.audit.files import PAGE
from camfleet.broker.ledger import Ledger
from camfleet.contract.records import DIGEST, JobRecord
from camfleet.errors import CallerError, InvalidRequest, UnknownJob
from camfleet.jobs.retention.candidates import Candidates
from camfleet.jobs.retention.deletion import Deleter
from camfleet.jobs.retention.folder import is_result, says_end
from camfleet.jobs.retention.freed import OnProgress, Retired
from camfleet.jobs.retention.protected import protected_jobs
from camfleet.jobs.retention.references import keep_referenced, needed_by
from camfleet.jobs.retention.sweep import Sweeper
from camfleet.jobstore import keys
from camfleet.jobstore.records import read_any_record
from camfleet.jobstore.usage import kind_of
from camfleet.prefetch import in_order
from camfleet.registry.names import Names
from camfleet.storage.storage import Listed, Storage

GRACE = 24 * 3600.0  # seconds: younger objects may be those of a job that is being written
_TICK = 1.0  # second, in which stores say what time it is, however exactly they date objects
_THREADS = 16  # of which each has a job
_AHEAD = 64  # jobs
_SHOWN = 5  # of the reasons why nothing that jobs share goes

T = TypeVar("T")
R = TypeVar("R")


class _Found(NamedTuple):
    """A job as the bucket holds it: its record, or why it can't be read, and when it ended.

    `has_report`: in its own folder lies a whole report.
    """

    job_id: str
    record: JobRecord | None
    reason: str
    ended_at: float
    has_results: bool
    has_report: bool


class Retention:
    """Deletes jobs. `on_progress` is told what is counted, and how many there were so far.

    With `dry_run` nothing is written; what would be freed is counted.
    """

    def __init__(
        self, storage: Storage, ledger: Ledger, on_progress: OnProgress, *, dry_run: bool = False
    ) -> None:
        self._storage = storage
        self._ledger = ledger
        self._on_progress = on_progress
        self._dry_run = dry_run
        self._retired = Retired()
        self._sweeper = Sweeper(
            storage, self._retired, lambda count: on_progress("objects", count), dry_run=dry_run
        )

    def delete(self, job_ids: Sequence[str], *, force: bool = False) -> Retired:
        """Delete jobs, and what they shared with no other; raise before any is touched."""
        deleter = Deleter(self._storage, self._ledger, protected_jobs(self._storage), force)
        now = self._storage.now()
        doomed = dict.fromkeys(job_ids)
        for job_id in doomed:
            try:
                deleter.check(job_id)
            except CallerError as error:
                none = "; none of these jobs was deleted" if len(doomed) > 1 else ""
                raise type(error)(f"{error}{none}") from error
        with Candidates() as candidates:
            for job_id in doomed:
                if not self._dry_run:
                    deleter.mark(job_id, now)
                candidates.add(needed_by(self._storage, job_id))
            self._sweep_shared(candidates, doomed, now - GRACE)
        remove = partial(self._remove, deleter, keeps=False)
        self._note_removed(_at_once(lambda one: (one, False, remove(one)), doomed))
        return self._retired

    def prune(self, older_than: float, *, keep_report: bool = False) -> Retired:
        """Delete the jobs that ended so many seconds ago, and all that no job needs since then.

        With `keep_report` only the results go, of jobs that have a report; others stay, and `kept`
        names them. What an earlier call left is finished.
        """
        if not older_than >= 0:
            raise InvalidRequest("older_than is how long ago a job ended: 0 seconds or more")
        deleter = Deleter(self._storage, self._ledger, protected_jobs(self._storage))
        now = self._storage.now()
        doomed: dict[str, bool] = {}  # whether its report stays
        retire = partial(
            self._retire, deleter, before=now + _TICK - older_than, now=now, keep_report=keep_report
        )
        for found, keeps, reason in _at_once(retire, self._jobs()):
            if keeps is not None:
                doomed[found.job_id] = keeps
            elif reason:
                self._retired.kept.append(reason)
        before = now - max(older_than, GRACE)
        with Candidates() as candidates:
            for prefix in (keys.pictures(), keys.uploads()):
                there = self._storage.objects(prefix)
                candidates.add(each.key for each in there if each.modified_at < before)
            digests = self._sweep_shared(candidates, doomed, before)
        if digests is not None:
            self._sweeper.delete(self._converted(digests, before))
        remove = partial(self._remove, deleter)
        self._note_removed(_at_once(lambda one: (*one, remove(*one)), doomed.items()))
        return self._retired

    def _retire(
        self, deleter: Deleter, found: _Found, *, before: float, now: float, keep_report: bool
    ) -> tuple[_Found, bool | None, str]:
        """Mark a job that is to go; return whether its report stays, or None: all of it stays.

        And why it stays, unless that's its age.
        """
        record = found.record
        if record and record.deleted_at is not None:
            if not self._dry_run:
                deleter.mark(found.job_id, now)  # a call may have died before Redis forgot it
            return found, False, ""
        is_old = found.ended_at < before
        if record and record.pruned and (keep_report or not is_old):
            if not self._dry_run:
                deleter.forget(found.job_id)  # an earlier call may have died before that
            return found, True if found.has_results else None, ""
        if not is_old or deleter.ended_at(found.job_id) >= before:
            return found, None, ""
        keeps = record is not None and keep_report
        try:
            self._mark(deleter, found, now, keeps=keeps)
        except (InvalidRequest, UnknownJob) as error:
            return found, None, str(error)
        return found, keeps, ""

    def _mark(self, deleter: Deleter, found: _Found, now: float, *, keeps: bool) -> None:
        if found.reason:
            raise InvalidRequest(found.reason)
        if keeps and not self._has_report(found):
            job_id = found.job_id
            place = self._storage.uri(keys.report_folder(job_id))
            raise InvalidRequest(
                f"job {job_id} has no report: camfleet report {job_id} --output {place} writes one "
                "there; or prune without --keep-report"
            )
        if self._dry_run:
            deleter.check(found.job_id)
        elif keeps:
            deleter.prune(found.job_id, found.ended_at, now)
        else:
            deleter.mark(found.job_id, now)

    def _has_report(self, found: _Found) -> bool:
        """Return whether a job's report is there, in its own folder or where its record says."""
        if found.has_report or found.record is None or found.record.follow_ups is None:
            return found.has_report
        place = found.record.follow_ups.place
        try:
            return place is not None and self._storage.exists(f"{place.rstrip('/')}/{PAGE}")
        except CallerError:  # nobody may look there now
            return False

    def _remove(self, deleter: Deleter, job_id: str, keeps: bool) -> str | None:
        """Delete what is a job's own; return why it stays, None for one that came anew, else ""."""
        if keeps:
            deleter.remove_results(job_id, self._sweeper)
            return ""
        if self._dry_run:
            self._sweeper.delete(self._storage.objects(keys.folder(job_id)))
            return ""
        try:
            return "" if deleter.remove(job_id, self._sweeper) else None
        except InvalidRequest as error:
            return str(error)

    def _note_removed(self, removed: Iterable[tuple[str, bool, str | None]]) -> None:
        """Note what became of jobs: id, whether its report stays, and what `_remove` says."""
        for job_id, keeps, reason in removed:
            if reason:
                self._retired.kept.append(reason)
            elif reason == "":
                (self._retired.pruned if keeps else self._retired.jobs).append(job_id)

    def _sweep_shared(
        self, candidates: Candidates, doomed: dict[str, bool] | dict[str, None], before: float
    ) -> set[str] | None:
        """Delete the candidates that no other job needs; return the models that those name.

        None if nobody knows what all of them need: then nothing is deleted.
        """
        marked = keep_referenced(
            self._storage,
            candidates,
            doomed.__contains__,
            lambda count: self._on_progress("jobs", count),
        )
        if marked.unreadable:
            self._retired.kept += marked.unreadable[:_SHOWN]
            self._retired.kept.append(
                f"nobody can tell what {len(marked.unreadable)} of the jobs or parts that stay "
                "need, so nothing that jobs share was deleted"
            )
            return None
        self._sweeper.delete_candidates(candidates, before)
        return marked.digests

    def _converted(self, digests: set[str], before: float) -> Iterator[Listed]:
        """Yield converted models, of those digests that nobody names all, of others the older."""
        named = digests | {entry.digest for entry in Names(self._storage).entries.of()}
        there = self._storage.objects(keys.model_prefix("")[:-1])
        for digest, group in groupby(there, key=lambda each: each.key.split("/")[1]):
            found = [each for each in group if kind_of(each.key) == "converted models"]
            if not found or not re.match(DIGEST, digest):
                continue
            newest = max(each.modified_at for each in found) if digest in named else float("inf")
            yield from (each for each in found if each.modified_at < min(newest, before))

    def _jobs(self) -> Iterator[_Found]:
        folders = self._storage.folders(keys.jobs())
        there = (job_id for folder in folders if (job_id := keys.job_of(folder)))
        for number, found in enumerate(_at_once(self._look, there), 1):
            self._on_progress("jobs", number)
            if found:
                yield found

    def _look(self, job_id: str) -> _Found | None:
        """Return what the bucket holds of a job, None for a folder that a store keeps empty."""
        ended_at, latest, has_results, has_report = 0.0, 0.0, False, False
        page = keys.report_folder(job_id) + PAGE
        for each in self._storage.objects(keys.folder(job_id)):
            has_results |= is_result(each.key)
            has_report |= each.key == page  # which is written last
            latest = max(latest, each.modified_at)
            if says_end(each.key):
                ended_at = max(ended_at, each.modified_at)
        if not latest:
            return None
        ended_at = ended_at or latest  # of what is no job
        try:
            record = read_any_record(self._storage, job_id)
        except UnknownJob:
            return _Found(job_id, None, "", ended_at, has_results, has_report)
        except InvalidRequest as error:
            return _Found(job_id, None, str(error), ended_at, has_results, has_report)
        if record.pruned:
            ended_at = record.pruned.ended_at
        return _Found(job_id, record, "", ended_at, has_results, has_report)


def _at_once(work: Callable[[T], R], jobs: Iterable[T]) -> Iterator[R]:
    """Yield what becomes of jobs, of several at a time: each takes some answers of the store."""
    return in_order(work, jobs, threads=_THREADS, ahead=_AHEAD)
