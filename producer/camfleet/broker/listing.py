"""How far jobs are, read of many in one round trip; and all jobs page by page, the newest first."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from camfleet.broker import keys
from camfleet.broker.progress import RATE_EVENTS, Progress, as_dict, progress_of
from camfleet.broker.redis import Redis
from camfleet.errors import BrokerDamaged, JobDamaged, UnknownJob
from camfleet.settings import Settings

logger = logging.getLogger(__name__)

_MOST_FIELDS, _MOST_BYTES = 2**20, 2**26  # of what tells how far a job is
_AT_ONCE = 100  # jobs whose progress is read in a round trip
_LISTED = 1000  # jobs whose owners are read in a round trip
_LOOKED_AT = 20_000  # jobs, also of others, for one page


class Place(NamedTuple):
    """A job's place in the list of all: by the time of its submit, and its id."""

    created_at: float
    job_id: str


class Page(NamedTuple):
    """Some jobs, and the place after which the next ones are; None: there are none."""

    jobs: list[Progress]
    next: Place | None


class ProgressReader:
    """Reads how far jobs are. Safe to share by threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.script("progress")

    def one(self, job_id: str) -> Progress:
        """Return how far a job is; raise `UnknownJob`, or `JobDamaged` if nobody can tell."""
        try:
            found = self._script(*_asked(job_id))
        except BrokerDamaged as error:
            raise damaged(job_id, error) from error
        return _progress(job_id, found)

    def some(self, job_ids: Sequence[str]) -> Iterator[Progress]:
        """Yield how far jobs are; of one that is damaged log that it is, and leave it out."""
        for first in range(0, len(job_ids), _AT_ONCE):
            asked = job_ids[first : first + _AT_ONCE]
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in asked:
                    self._script.queue(pipe, *_asked(job_id))
                answers = pipe.execute(raise_on_error=False)
            for job_id, answer in zip(asked, answers, strict=True):
                try:
                    yield self._read(job_id, answer)
                except JobDamaged as error:
                    logger.warning("%s", error)
                except UnknownJob:  # it expired a moment ago
                    continue

    def _read(self, job_id: str, answer: Any) -> Progress:
        try:
            with self._redis.errors():
                if isinstance(answer, Exception):
                    raise answer
        except BrokerDamaged as error:
            raise damaged(job_id, error) from error
        return _progress(job_id, answer)


class JobListing:
    """All jobs that Redis knows, page by page. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)
        self._reader = ProgressReader(self._redis)

    def page(self, after: Place | None, limit: int, owner: str | None) -> Page:
        """Return up to `limit` jobs after a place, the newest first: all, or those of an owner.

        A page may be short and not the last, where many jobs are of others.
        """
        found: list[Progress] = []
        last = after
        for first in range(0, _LOOKED_AT, _LISTED):
            places = self._places(after, first)
            if not places:
                return Page(found, None)
            own = self._own(places, owner)
            taken = own[: limit - len(found)]
            found += self._reader.some([place.job_id for place in taken])
            last = taken[-1] if taken else last
            if len(taken) < len(own):
                return Page(found, last)
        return Page(found, places[-1])

    def close(self) -> None:
        self._redis.close()

    def _places(self, after: Place | None, first: int) -> list[Place]:
        """Return the places of some jobs, `first` places after another."""
        highest = repr(after.created_at) if after else "+inf"
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrevrangebyscore(keys.JOBS, highest, "-inf", first, _LISTED, withscores=True)
            (rows,) = pipe.execute()
        places = [Place(float(score), job_id) for job_id, score in rows]
        return [place for place in places if after is None or place < after]

    def _own(self, places: Sequence[Place], owner: str | None) -> list[Place]:
        """Return those that are known still, and an owner's."""
        with self._redis.pipeline(transaction=False) as pipe:
            for place in places:
                pipe.hmget(keys.job(place.job_id), "chunks", "owner")
            rows = pipe.execute(raise_on_error=False)
        return [
            place
            for place, row in zip(places, rows, strict=True)
            if isinstance(row, list) and row[0] is not None and owner in (None, row[1])
        ]


def _asked(job_id: str) -> tuple[list[str], list[int]]:
    """Return the keys and arguments of progress.lua."""
    names = (keys.job, keys.events, keys.working, keys.codes)
    return [name(job_id) for name in names], [RATE_EVENTS, _MOST_FIELDS, _MOST_BYTES]


def _progress(job_id: str, found: Any) -> Progress:
    if found is None:
        raise damaged(job_id, BrokerDamaged("more than camfleet writes of any job"))
    fields, events, working, codes, (seconds, micros) = found
    row = as_dict(fields)
    if "chunks" not in row:  # nothing, or what was being changed when Redis was emptied
        raise UnknownJob(f"no job {job_id!r}: it was never submitted here, or it ended long ago")
    try:
        marks = [(stamp, as_dict(words)) for stamp, words in events]
        now = int(seconds) + int(micros) / 1e6
        return progress_of(job_id, row, marks, sum(map(int, working)), as_dict(codes), now)
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        raise damaged(job_id, error) from error


def damaged(job_id: str, error: Exception) -> JobDamaged:
    return JobDamaged(
        f"what Redis holds of job {job_id!r} isn't what camfleet wrote there "
        f"({type(error).__name__}: {str(error)[:200]}): camfleet resume writes it anew"
    )
