"""Browsers that are signed in to gateways: any of them may be asked by the same one."""

import hashlib
import time

from camfleet.broker import gateway_keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings

MOST_SESSIONS = 100  # of a token


class Sessions:
    """Whose a session is: the id of a token, found by the digest of the session's secret.

    Safe to share by threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)

    def open(self, secret: str, token_id: str, seconds: int) -> None:
        """Open a session; where its token has too many, the oldest ends."""
        digest, of_token = _digest(secret), gateway_keys.sessions(token_id)
        with self._redis.pipeline() as pipe:
            pipe.set(gateway_keys.session(digest), token_id, ex=seconds)
            pipe.zadd(of_token, {digest: time.time()})
            pipe.expire(of_token, seconds, gt=True)
            pipe.expire(of_token, seconds, nx=True)
            pipe.zrange(of_token, 0, -MOST_SESSIONS - 1)
            doomed = pipe.execute()[-1]
        if doomed:
            with self._redis.pipeline() as pipe:
                pipe.delete(*map(gateway_keys.session, doomed))
                pipe.zrem(of_token, *doomed)
                pipe.execute()

    def token_of(self, secret: str) -> str | None:
        """Return the id of a session's token, None for one that has ended or never was."""
        found: str | None = self._redis.run("GET", gateway_keys.session(_digest(secret)))
        return found

    def end(self, secret: str) -> None:
        digest, token_id = _digest(secret), self.token_of(secret)
        self._redis.run("DEL", gateway_keys.session(digest))
        if token_id is not None:
            self._redis.run("ZREM", gateway_keys.sessions(token_id), digest)

    def close(self) -> None:
        self._redis.close()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
