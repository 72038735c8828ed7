"""Browsers that are signed in to gateways: any of them may be asked by the same one."""

import hashlib

from camfleet.broker import gateway_keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings


class Sessions:
    """Whose a session is: the id of a token, found by the digest of the session's secret.

    Safe to share by threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)

    def open(self, secret: str, token_id: str, seconds: int) -> None:
        self._redis.run("SET", _key(secret), token_id, "EX", seconds)

    def token_of(self, secret: str) -> str | None:
        """Return the id of a session's token, None for one that has ended or never was."""
        found: str | None = self._redis.run("GET", _key(secret))
        return found

    def end(self, secret: str) -> None:
        self._redis.run("DEL", _key(secret))

    def close(self) -> None:
        self._redis.close()


def _key(secret: str) -> str:
    return gateway_keys.session(hashlib.sha256(secret.encode()).hexdigest())
