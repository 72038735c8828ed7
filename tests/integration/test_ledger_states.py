"""In whatever order workers take, die, store and count, and producers cancel, resume and retry:
the ledger says what lies in storage, and never more."""

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from camfleet.broker.keys import LEASES, attempts
from camfleet.broker.leases import Leases, attempts_prefix
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json
from camfleet.contract.records import ChunkRef, RetryRecord
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.jobs import recovery
from camfleet.jobstore import keys
from camfleet.jobstore.claim import Claim
from camfleet.jobstore.results_parts import Outcome, Outcomes
from helpers.producers import drain, items, producing, row

LOST, BROKEN = "image_not_found", "image_unreadable"
FORGOTTEN = "was cancelled on .*--cancelled"  # by Redis
IMAGES, CHUNKS, TOTAL = 3, 4, 6  # two models, each with a part of two images and one of one

jobs = itertools.count()
numbers = st.integers(0, CHUNKS - 1)
ages = st.sampled_from([0, 0, 0, 1, 2])
ends = st.tuples(*[st.sampled_from(["ok", "ok", "no_evidence", LOST, BROKEN])] * 2)
codes = st.sampled_from([(), (), (LOST,), (BROKEN,)])
# One rule with all events: hypothesis leaves out rules at random, and most sequences need most.
events = st.one_of(
    st.tuples(st.just("start"), numbers, ages, st.integers(0, 2), ends),
    st.tuples(st.just("go_on"), ages, ends),
    st.tuples(st.just("overtake"), numbers, ends),
    st.tuples(
        st.just("finish"), st.tuples(*[ends] * CHUNKS), st.sampled_from([False, False, True])
    ),
    st.tuples(st.just("run_failed_images_again"), codes),
    st.tuples(st.just("die_as_a_retry_begins"), codes),
    st.tuples(st.just("resume_while_a_worker_ends"), ages, numbers, ends),
    st.tuples(st.sampled_from(["resume", "submit_again", "cancel", "wipe"])),
)


@dataclass(eq=False)
class Part:
    """A results part as it must be: how its images ended, and by which retry it was written."""

    ends: tuple[str, ...]  # "ok", "no_evidence" or an error code
    retry: int


@dataclass(eq=False)
class Run:
    """One worker's work on a chunk, which can stop for ever after each step."""

    ref: ChunkRef
    number: int
    before: Outcome | None
    seen: Part | None  # what `before` must be
    now: Outcome | None = None
    part: Part | None = None  # what `now` must be


class Meddling(Claim):
    """A claim at whose renewal of this number, from 0 on, something happens."""

    def __init__(self, at, happen):
        self._left = at
        self._happen = happen

    def renew(self):
        if self._left == 0:
            self._happen()
        self._left -= 1


class Fleet(RuleBasedStateMachine):
    """One job on real servers, and beside it in plain attributes what must be true of it."""

    def __init__(self, client, redis):
        super().__init__()
        self.client, self.redis, self.storage = client, redis, client.storage
        self.ledger, self.leases = Ledger(client.settings), Leases(client.settings)
        self.outcomes = Outcomes(client.storage)
        self.id = f"states-{next(jobs)}"
        self.job = self.submit()
        self.record = self.job.record()
        self.known = self.published = True  # to Redis
        self.cancelled = self.noted = False  # in Redis, and in the bucket
        self.retry = self.latest = 0  # as Redis has it, and as storage has it
        self.retries = {0: ((), set())}  # codes and chunks of each
        self.parts, self.old = {}, {}  # by number; by number and the retry that replaced it
        self.counted, self.shown = set(), {}  # what was counted of which chunk
        self.leased, self.runs = set(), []
        self.sent(range(CHUNKS))

    @rule(event=events)
    def happen(self, event):
        name, *values = event
        getattr(self, name)(*values)

    def submit(self):
        return self.client.submit(items(IMAGES), models=["states", "other"], job_id=self.id)

    def start(self, number, age, steps, ends):
        """Let a worker get a message, perhaps one of the retry before, and then die or stop."""
        ref = self.record.chunk(number, max(0, self.retry - age))
        assert bool(self.leases.take(ref)) == (ref not in self.leased)
        if ref in self.leased:
            return
        self.leased.add(ref)
        if not self.needed(number, ref):
            self.give_back(ref)
            return
        self.runs.append(self.begin(ref))
        for _ in range(steps):
            self.next(self.runs[-1], ends)

    def go_on(self, age, ends):
        """Let one of the latest workers store or count, perhaps again."""
        if self.runs:
            self.next(self.runs[-1 - age % len(self.runs)], ends)

    def overtake(self, number, ends):
        """Let a lease run out, another worker do the chunk, and then the first one go on."""
        missing = sorted(set(range(CHUNKS)) - self.counted)
        if missing and self.known and not self.cancelled:
            ref = self.record.chunk(missing[number % len(missing)], self.retry)
            late = self.begin(ref)
            self.redis.zadd(LEASES, {encode_json(ref).decode(): 1}, xx=True)
            self.leased.discard(ref)
            self.start(late.number, 0, 2, ends)
            self.next(late, ends[::-1])
            self.next(late, ends[::-1])

    def finish(self, ends, cancel):
        """Let other workers do all that is wanted; perhaps it's cancelled too late."""
        if self.known and not self.cancelled:
            missing = set(range(CHUNKS)) - self.counted
            runs = [self.begin(self.record.chunk(number, self.retry)) for number in missing]
            for run in runs:
                self.store(run, ends[run.number])
            if cancel:
                self.cancel()
            for run in runs:
                self.count(run)

    def cancel(self):
        if self.known:
            self.job.cancel()
            self.cancelled = self.noted = self.cancelled or not self.complete

    def wipe(self):
        """Let Redis lose everything."""
        self.redis.flushdb()
        self.known = self.published = False
        self.leased.clear()

    def resume(self):
        if self.forgot_cancelling:
            with pytest.raises(InvalidRequest, match=FORGOTTEN):
                self.client.resume(self.id)
        self.client.resume(self.id, cancelled=True)
        self.rebuilt(self.parts)
        self.noted = False
        self.sent(set(range(CHUNKS)) - self.counted)

    def resume_while_a_worker_ends(self, age, at, ends):
        """Let a worker store and count just before the producer reads the part `at`."""
        if not self.runs:
            return
        run = self.runs[-1 - age % len(self.runs)]
        there = dict(self.parts)

        def end():
            self.next(run, ends)
            self.next(run, ends)

        claim = Meddling(at, end)
        missing = recovery.rebuild(self.record, self.storage, self.ledger, claim)
        late = run.number < at or run.number not in there
        before = self.said, self.retry
        unchanged = self.known and self.complete and not missing
        published = self.published
        self.rebuilt({**self.parts, **({run.number: there.get(run.number)} if late else {})})
        unchanged = unchanged and before == (self.said, self.retry)
        self.published = published and unchanged
        assert {self.record.number(ref) for ref in missing} == set(range(CHUNKS)) - self.counted
        self.sent(set(range(CHUNKS)) - self.counted)

    def submit_again(self):
        """Let somebody submit the same id, as after a submit that was cut off."""
        if self.forgot_cancelling:
            with pytest.raises(InvalidRequest, match=FORGOTTEN):
                self.submit()
            return
        note = self.submit().note
        assert ("not to the end" in note) is not self.published
        if not self.published:
            self.rebuilt(self.parts)
            self.noted = False
            self.sent(set(range(CHUNKS)) - self.counted)

    def run_failed_images_again(self, codes):
        if self.forgot_cancelling:
            with pytest.raises(InvalidRequest, match=FORGOTTEN):
                self.client.retry(self.id, codes)
            return
        if not self.known:
            self.rebuilt(self.parts)
        if not self.complete:
            with pytest.raises(InvalidRequest, match=f"{self.id} is "):
                self.client.retry(self.id, codes)
            drain(self.redis)
            return
        chunks = self.failed(codes)
        _, images = self.client.retry(self.id, codes)
        assert images == sum(chunks.values())
        if images:
            self.begin_retry(codes, chunks)
            self.retry, self.cancelled = self.latest, False
            self.counted -= chunks.keys()
        self.sent(chunks)

    def die_as_a_retry_begins(self, codes):
        """Let a producer write a retry's record and die."""
        chunks = self.failed(codes) if self.known and self.complete else {}
        if chunks:
            self.begin_retry(codes, chunks)
            pairs = [(ref.model, ref.part) for ref in (self.record.chunk(n, 0) for n in chunks)]
            record = RetryRecord(
                schema_version=1,
                job_id=self.id,
                number=self.latest,
                created_at=1.0,
                codes=codes,
                chunks=tuple(pairs),
            )
            self.storage.put(keys.retry(self.id, self.latest), encode_json(record), "x/y")

    @invariant()
    def the_ledger_says_what_was_counted(self):
        if not self.known:
            with pytest.raises(UnknownJob):
                self.ledger.progress(self.id)
            return
        progress = self.ledger.progress(self.id)
        ends = self.said
        assert (progress.ok, progress.no_evidence) == (
            ends.pop("ok", 0),
            ends.pop("no_evidence", 0),
        )
        assert progress.failures == ends
        assert progress.failed == ends.total()
        assert progress.done <= progress.total == TOTAL
        assert progress.chunks_done == len(self.counted)
        assert self.ledger.not_done(self.record) == sorted(set(range(CHUNKS)) - self.counted)
        assert progress.complete is self.complete
        assert (progress.state == "cancelled") is (self.cancelled and not self.complete)

    def teardown(self):
        """Whatever happened, resuming brings the job to its exact end, and Redis will forget it."""
        self.resume()
        self.finish([("ok", "ok")] * CHUNKS, cancel=False)
        self.the_ledger_says_what_was_counted()
        found = self.job.verify()
        assert (found.faults, found.images) == ((), TOTAL)
        assert all(self.redis.ttl(key) > 0 for key in self.redis.scan_iter(f"*{{{self.id}}}*"))
        self.ledger.close()
        self.leases.close()

    @property
    def said(self):
        """How many images ended how, as the ledger says."""
        return Counter(end for part in self.shown.values() for end in part.ends)

    @property
    def forgot_cancelling(self):
        """Whether only the bucket knows that the job was cancelled."""
        return self.noted and not self.known

    @property
    def complete(self):
        """A job ends once: one that was cancelled stays so, though its last chunk be counted."""
        return len(self.counted) == CHUNKS and not self.cancelled

    def begin(self, ref):
        number = self.record.number(ref)
        return Run(ref, number, self.outcomes.find(self.record, ref), self.parts.get(number))

    def next(self, run, ends):
        if run.now is None:
            self.store(run, ends)
        else:
            self.count(run)

    def store(self, run, ends):
        if run.seen and run.seen.retry >= run.ref.retry:
            run.now, run.part = run.before, run.seen
        else:
            new = self.explained(run, ends)
            rows = [row(str(2 * run.ref.part + n), end) for n, end in enumerate(new.ends)]
            run.now = self.outcomes.store(self.record, run.ref, rows, run.before)
            if run.seen:
                self.old[run.number, run.ref.retry] = run.seen
            if self.parts.get(run.number) is run.seen:
                self.parts[run.number] = new
            run.part = self.parts[run.number]
        found = tuple(image.error_code or str(image.status) for image in run.now.images)
        assert (found, run.now.retry) == (run.part.ends, run.part.retry)

    def count(self, run):
        totals = self.outcomes.totals(self.record, run.ref, run.now)
        if self.known:
            first = run.number not in self.counted and run.ref.retry == self.retry
            said = self.ledger.commit(
                self.id, run.number, totals, retry=run.ref.retry, begun=run.ref
            )
            assert said is first
            field = f"{attempts_prefix(run.ref)}attempts"
            assert not (first and self.redis.hexists(attempts(self.id), field)), "forgotten"
            if first:
                assert run.part is self.parts[run.number], "what is counted is what lies there"
                self.counted.add(run.number)
                self.shown[run.number] = run.part
        else:
            with pytest.raises(UnknownJob):
                self.ledger.commit(self.id, run.number, totals, retry=run.ref.retry, begun=run.ref)
        self.give_back(run.ref)

    def needed(self, number, ref):
        if not self.known:
            with pytest.raises(UnknownJob):
                self.ledger.is_done(self.id, number, ref.retry)
            return False
        done = self.ledger.is_done(self.id, number, ref.retry)
        assert done is (number in self.counted or ref.retry != self.retry)
        assert self.complete or self.ledger.is_cancelled(self.id) is self.cancelled
        return not done and not self.cancelled

    def give_back(self, ref):
        self.leases.give_back(ref)
        self.leased.discard(ref)

    def explained(self, run, ends):
        """Return the part that a run writes: all images anew, or those that the retry is about."""
        if run.seen is None:
            return Part(ends[: 2 - run.ref.part], run.ref.retry)
        codes, chunks = self.retries[run.ref.retry]
        assert run.number in chunks, "only chunks of the retry are touched"
        pairs = zip(run.seen.ends, ends, strict=False)
        return Part(tuple(new if wanted(old, codes) else old for old, new in pairs), run.ref.retry)

    def failed(self, codes):
        """Return how many images of which chunks a retry of these codes is about."""
        counts = {
            number: sum(wanted(end, codes) for end in part.ends)
            for number, part in self.parts.items()
        }
        return {number: count for number, count in counts.items() if count}

    def begin_retry(self, codes, chunks):
        self.latest += 1
        self.retries[self.latest] = (codes, set(chunks))

    def rebuilt(self, parts):
        """Know what the ledger says that was written anew from these parts."""
        retried = self.retries[self.latest][1]
        self.known = self.published = True
        self.cancelled, self.retry = False, self.latest
        self.counted, self.shown = set(), {}
        for number, part in parts.items():
            if part and (number not in retried or part.retry >= self.latest):
                self.counted.add(number)
                self.shown[number] = part
            elif part:
                self.shown[number] = self.old.get((number, self.latest), part)

    def sent(self, chunks):
        """Check that there's one message for each of these chunks, and no other."""
        wanted = {self.record.chunk(number, self.retry) for number in chunks}
        messages = drain(self.redis)
        assert set(messages) == wanted
        assert len(messages) == len(wanted)


def wanted(end, codes):
    return end in (codes or (LOST, BROKEN))


def test_totals_stay_exact_whatever_happens_in_whatever_order(settings, tmp_path):
    own = producing(settings, tmp_path, model="states", database=5, chunk_size=2)
    with own as (client, redis):
        card = tmp_path / "card.toml"
        card.write_text(card.read_text().replace('id = "states"', 'id = "other"'))
        client.models.add(card)
        run_state_machine_as_test(
            lambda: Fleet(client, redis),
            settings=bounds(
                max_examples=10,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
