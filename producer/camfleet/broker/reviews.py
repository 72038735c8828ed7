"""What came of reviews last, as the bucket has it, kept in Redis for scrapes and health checks."""

import logging
from typing import NamedTuple

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.broker.schedules_due import NAME
from camfleet.contract.codec import Wire, decode_json, encode_json
from camfleet.contract.reviews import Review, ReviewName, ReviewVerdict, ReviewVerdictWord
from camfleet.errors import InvalidRequest
from camfleet.settings import Settings

logger = logging.getLogger(__name__)


class Reviewed(Wire, frozen=True, kw_only=True):
    """The latest verdict of a review; without one, since when there is the review."""

    name: ReviewName
    at: float  # seconds since the epoch, when it was, or last seen to be the latest
    model: str | None = None
    trouble: str | None = None  # why it came to nothing when it was due
    verdict: ReviewVerdictWord | None = None
    movement: float | None = None
    places: int | None = None  # suspicious ones that are new


class Standing(NamedTuple):
    """How all reviews stand: their latest verdicts, when each is due next, and what time it is."""

    reviewed: list[Reviewed]
    due: dict[str, float]
    now: float

    def late(self, seconds: float) -> dict[str, float]:
        """Return the reviews that have been due for longer than that, and nobody does them.

        With the seconds since then.
        """
        late = {name: self.now - moment for name, moment in sorted(self.due.items())}
        return {name: since for name, since in late.items() if since > seconds}


class ReviewBoard:
    """The latest verdict of each review. Safe to share by threads."""

    def __init__(self, settings: Settings, timeout: float | None = None) -> None:
        self._redis = Redis(settings, timeout)

    def now(self) -> float:
        """Return the time of Redis' clock, by which all of reviews is dated."""
        return self._redis.now()

    def note(self, reviewed: Reviewed) -> None:
        self._redis.run("HSET", keys.REVIEWS, reviewed.name, encode_json(reviewed).decode())

    def tell(
        self,
        review: Review,
        verdict: ReviewVerdict | None,
        *,
        looked_at: float = 0.0,
        trouble: str | None = None,
    ) -> None:
        """Note what came of a review last; None: nothing yet, so that what came before stays.

        `looked_at` is when there was nothing newer to review; `trouble` is why it came to nothing.
        """
        before, now = self._before(review.name)
        at, model, word, moved, places = review.created_at, None, None, None, None
        if verdict:
            at, word = verdict.decided_at, verdict.verdict
            model = f"{verdict.model.id}@{verdict.model.version}"
            moved = verdict.movement.value if verdict.movement else None
            places = len(verdict.places) if verdict.page else None
        elif before:
            at, model, word = before.at, before.model, before.verdict
            moved, places = before.movement, before.places
        if before and (before.model, before.verdict) == (model, word):
            at = max(at, before.at)
        self.note(
            Reviewed(
                name=review.name,
                at=min(max(at, looked_at), now),
                model=model,
                trouble=trouble,
                verdict=word,
                movement=moved,
                places=places,
            )
        )

    def _before(self, name: str) -> tuple[Reviewed | None, float]:
        """Return what was noted of a review, and the time."""
        with self._redis.pipeline() as pipe:
            pipe.hget(keys.REVIEWS, name)
            pipe.time()
            text, (seconds, micros) = pipe.execute()
        return _decoded(text), float(seconds) + float(micros) / 1e6

    def remove(self, name: str) -> None:
        self._redis.run("HDEL", keys.REVIEWS, name)

    def read(self) -> "Standing":
        """Return how all reviews stand; what camfleet didn't write is left out."""
        with self._redis.pipeline() as pipe:
            pipe.hvals(keys.REVIEWS)
            pipe.zrange(keys.SCHEDULES, 0, -1, withscores=True)
            pipe.time()
            texts, scores, (seconds, micros) = pipe.execute()
        reviewed = [found for text in texts if (found := _decoded(text))]
        due = {name: float(score) for name, score in scores if NAME.fullmatch(name)}
        now = float(seconds) + float(micros) / 1e6
        return Standing(sorted(reviewed, key=lambda one: one.name), due, now)

    def close(self) -> None:
        self._redis.close()


def _decoded(text: str | None) -> Reviewed | None:
    if text is None:
        return None
    try:
        return decode_json(text.encode(), Reviewed)
    except InvalidRequest as error:
        logger.warning("what Redis has of a review is damaged: %s", error)
        return None
