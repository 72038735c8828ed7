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
    verdict: ReviewVerdictWord | None = None
    movement: float | None = None


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

    def note(self, reviewed: Reviewed) -> None:
        self._redis.run("HSET", keys.REVIEWS, reviewed.name, encode_json(reviewed).decode())

    def tell(
        self, review: Review, verdict: ReviewVerdict | None, *, looked_at: float = 0.0
    ) -> None:
        """Note what came of a review last, None: nothing yet.

        `looked_at` is when there was nothing newer to review.
        """
        if verdict is None:
            self.note(Reviewed(name=review.name, at=review.created_at))
            return
        self.note(
            Reviewed(
                name=review.name,
                at=max(verdict.decided_at, looked_at),
                model=f"{verdict.model.id}@{verdict.model.version}",
                verdict=verdict.verdict,
                movement=verdict.movement.value if verdict.movement else None,
            )
        )

    def remove(self, name: str) -> None:
        self._redis.run("HDEL", keys.REVIEWS, name)

    def read(self) -> "Standing":
        """Return how all reviews stand; what camfleet didn't write is left out."""
        with self._redis.pipeline() as pipe:
            pipe.hvals(keys.REVIEWS)
            pipe.zrange(keys.SCHEDULES, 0, -1, withscores=True)
            pipe.time()
            texts, scores, (seconds, micros) = pipe.execute()
        reviewed = []
        for text in texts:
            try:
                reviewed.append(decode_json(text.encode(), Reviewed))
            except InvalidRequest as error:
                logger.warning("what Redis has of a review is damaged: %s", error)
        due = {name: float(score) for name, score in scores if NAME.fullmatch(name)}
        now = float(seconds) + float(micros) / 1e6
        return Standing(sorted(reviewed, key=lambda one: one.name), due, now)

    def close(self) -> None:
        self._redis.close()
