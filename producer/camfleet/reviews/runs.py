"""Runs of a review: a job of its set with one version, whoever starts it, and however often."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.outputs import DEFAULT_PRECISION, Outputs, Precision
from camfleet.contract.records import JobRecord, ModelRef
from camfleet.contract.reviews import Review, ReviewVerdict, StartedRun
from camfleet.errors import ObjectChanged, UnknownJob, UnknownModel
from camfleet.faultpoints import FaultPoints
from camfleet.jobstore import keys
from camfleet.jobstore.claim import Claim
from camfleet.jobstore.records import read_record, write_source
from camfleet.rebuild import follow_again, rebuild, run_failed_again
from camfleet.registry.names import Names
from camfleet.registry.registry import Registry
from camfleet.reviews.frozen_set import copy_to
from camfleet.reviews.judging import came_to_nothing, say_the_same
from camfleet.reviews.protected import JOBS
from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage

_JSON = "application/json"


def run_of(review: Review, model: ModelRef) -> StartedRun:
    """Return the run of a version, as it's named: the same set, version and baselines, the same."""
    assert review.set
    words = (review.set.digest, model.digest, review.layer, review.method, review.fuse or "")
    job_id = f"{JOBS}{review.name}-{_digest(*words)}"
    run = _digest(job_id, review.baseline.job_id, review.first.job_id)
    return StartedRun(run=run, job_id=job_id, model=model)


def reviewed(review: Review, names: Names, model: str | None = None) -> ModelRef:
    """Return the version that a review is about now: of a bare id the one that was added last.

    `model` is `id@version` or `id@alias`, instead of what the review says. Raises `UnknownModel`.
    """
    name = model or review.model
    found = None if "@" in name else names.added_last(name)
    return found or names.find(name)  # which says what there is


class Runs:
    """Starts runs."""

    def __init__(self, storage: Storage, ledger: Ledger, fault_dir: str = "") -> None:
        self._storage = storage
        self._ledger = ledger
        self._reach = FaultPoints(fault_dir).reach
        self._names = Names(storage)
        self._registry = Registry(storage)
        self.store = ReviewStore(storage)

    def model(self, review: Review, model: str | None = None) -> ModelRef:
        """Return the version that a review is about now; see `reviewed`."""
        return reviewed(review, self._names, model)

    def start(self, review: Review, model: ModelRef, *, again: bool = False) -> StartedRun:
        """Let the job of a run be there and run, and return the run.

        Repeated it changes nothing; what was begun by somebody who died is completed, and what
        Redis has forgotten is entered again; `again`: what was cancelled, too. Raises
        `UnknownModel` for a version that's being removed, `ObjectDamaged` where the set has
        changed.
        """
        run = run_of(review, model)
        with self._ledger.claim(run.job_id) as claim:
            if self._open(review, run, claim, again=again):
                self._ledger.fill_queues()
                self._reach("review-sent")
                self._ledger.mark_published(run.job_id)
        before = self.store.state(review).run
        if before is None or before.run != run.run:
            self.store.note(review, run=run)
        self._reach("review-started")
        return run

    @contextmanager
    def keeping(self, job_id: str) -> Iterator[None]:
        """Let nobody delete a job for a block; raise `UnknownJob` if somebody has begun to."""
        with self._ledger.claim(job_id):
            read_record(self._storage, job_id)
            yield

    def repeat(self, review: Review, run: StartedRun, seen: ReviewVerdict | None) -> None:
        """Run again what failed in a run whose job is complete, and let it be judged anew.

        Unless there's another verdict by now than was `seen`. One that came to nothing stays until
        there's a new one, others are forgotten: whoever dies then leaves a complete job without a
        verdict, and workers repeat it.
        """
        with self._ledger.claim(run.job_id) as claim:
            record = read_record(self._storage, run.job_id)
            complete = self._ledger.progress(run.job_id).complete
            now = self.store.verdict(review.name, run.run)
            if not complete or not say_the_same(now, seen):
                return
            if seen and not came_to_nothing(seen):
                self.store.forget_verdict(review.name, run.run)
            self._reach("review-forgotten")
            if not run_failed_again(record, self._storage, self._ledger, claim):
                follow_again(record, self._storage, self._ledger, claim)
            self._reach("review-repeated")

    def _open(self, review: Review, run: StartedRun, claim: Claim, *, again: bool) -> bool:
        """Enter a job into Redis; return False where it was entered before."""
        try:
            record = read_record(self._storage, run.job_id, pruned_too=True)
        except UnknownJob:
            record = self._write(review, run, claim)
            self._ledger.open(record)
            self._reach("review-opened")
            return True
        sent = self._ledger.is_published(run.job_id)
        if record.pruned or (sent and not (again and self._ledger.is_cancelled(run.job_id))):
            return False
        rebuild(record, self._storage, self._ledger, claim)
        return True

    def _write(self, review: Review, run: StartedRun, claim: Claim) -> JobRecord:
        assert review.set
        copy_to(run.job_id, review, self._storage)
        claim.renew()
        record = JobRecord(
            schema_version=1,
            job_id=run.job_id,
            created_at=self._ledger.now(),
            models=(run.model,),
            target="top",  # which no item asks for: each has its own
            method=review.method,
            layer=review.layer,
            fuse=review.fuse,
            outputs=Outputs(kinds=()),
            items=review.set.items,
            duplicates=0,
            chunk_size=review.set.chunk_size,
            parts=review.set.parts,
            callback=review.callback,
            precision=self._precision(run.model),
            follow_ups=FollowUps(report=True, review=review.name),
        )
        record = sealed(record, review.set.form)
        self._reach("review-manifest")
        write_source(self._storage, run.job_id, (), self._ledger.fleet_id())
        try:
            self._storage.create(keys.job(run.job_id), encode_json(record), _JSON)
        except ObjectChanged:  # somebody else's, who lost the claim: the same but for its time
            return read_record(self._storage, run.job_id)
        try:
            self._names.check_kept(run.model)
        except UnknownModel:
            self._storage.delete([keys.job(run.job_id)])
            raise
        self._reach("review-recorded")
        return record

    def _precision(self, model: ModelRef) -> Precision:
        """Return what a version's card asks for; where that's gone workers will say so."""
        with suppress(UnknownModel):
            return self._registry.card(model.digest).precision or DEFAULT_PRECISION
        return DEFAULT_PRECISION


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
