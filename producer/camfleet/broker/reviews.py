"""What came of reviews last, as the bucket has it, kept in Redis for scrapes and health checks."""

import logging

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import Wire, decode_json, encode_json
from camfleet.contract.reviews import Review, ReviewName, ReviewVerdict, ReviewVerdictWord
from camfleet.errors import InvalidRequest
from camfleet.settings import Settings

logger = logging.getLogger(__name__)


class Reviewed(Wire, frozen=True, kw_only=True):
    """The latest verdict of a review; without one, since when there is the review."""

    name: ReviewName
    at: float  # seconds since the epoch
    model: str | None = None
    verdict: ReviewVerdictWord | None = None
    movement: float | None = None


class ReviewBoard:
    """The latest verdict of each review. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)

    def note(self, reviewed: Reviewed) -> None:
        self._redis.run("HSET", keys.REVIEWS, reviewed.name, encode_json(reviewed).decode())

    def tell(self, review: Review, verdict: ReviewVerdict | None) -> None:
        """Note what came of a review last, None: nothing yet."""
        if verdict is None:
            self.note(Reviewed(name=review.name, at=review.created_at))
            return
        self.note(
            Reviewed(
                name=review.name,
                at=verdict.decided_at,
                model=f"{verdict.model.id}@{verdict.model.version}",
                verdict=verdict.verdict,
                movement=verdict.movement.value if verdict.movement else None,
            )
        )

    def remove(self, name: str) -> None:
        self._redis.run("HDEL", keys.REVIEWS, name)

    def all(self) -> list[Reviewed]:
        """Return what is known of all reviews, by name; what camfleet didn't write is left out."""
        found = []
        for text in self._redis.run("HVALS", keys.REVIEWS):
            try:
                found.append(decode_json(text.encode(), Reviewed))
            except InvalidRequest as error:
                logger.warning("what Redis has of a review is damaged: %s", error)
        return sorted(found, key=lambda one: one.name)

    def close(self) -> None:
        self._redis.close()
