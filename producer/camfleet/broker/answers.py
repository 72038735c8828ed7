"""Whose an interactive answer is, for gateways: any of them may be asked for it."""

from camfleet.broker import gateway_keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings


class AnswerOwners:
    """The owners of answers, for as long as the answers are kept. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)
        self._seconds = settings.answer_expires

    def note(self, answer_id: str, owner: str) -> None:
        self._redis.run("SET", gateway_keys.answer_owner(answer_id), owner, "EX", self._seconds)

    def owner_of(self, answer_id: str) -> str | None:
        """Return whose an answer is, None where nobody asked for it, or too long ago."""
        found: str | None = self._redis.run("GET", gateway_keys.answer_owner(answer_id))
        return found

    def close(self) -> None:
        self._redis.close()
