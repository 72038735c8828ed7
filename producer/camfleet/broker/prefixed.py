"""A redis-py client that puts a prefix before every key: `prod:` makes camfleet's keys `prod:...`.

What isn't known to have its keys in a certain place isn't sent at all.
"""

from collections.abc import Sequence
from typing import Any

import redis
from redis.client import Pipeline

_FIRST = frozenset(
    (
        *("EXPIRE", "GET", "GETBIT", "GETRANGE", "PERSIST", "PEXPIRE", "PTTL", "SET", "SETBIT"),
        *("SETEX", "TTL", "TYPE", "LINDEX", "LLEN", "LPUSH", "LRANGE", "RPUSH", "XADD"),
        *("HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HKEYS", "HLEN", "HMGET", "HSET"),
        *("HVALS", "XREVRANGE", "ZADD", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREM"),
        *("ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZSCORE", "HSETNX"),
    )
)
_ALL = frozenset(("DEL", "EXISTS", "MGET"))
_NUMBERED = frozenset(("EVAL", "EVALSHA"))
_NONE = frozenset(("CLIENT", "INFO", "PING", "SCRIPT", "TIME"))


def prefixed(prefix: str, args: Sequence[Any]) -> list[Any]:
    """Return a command with the prefix before its keys; raise `TypeError` for one not known."""
    command, *rest = args
    name = str(command).partition(" ")[0].upper()
    if name in _NONE:
        return [*args]
    if name in _FIRST:
        keys = slice(0, 1)
    elif name in _ALL:
        keys = slice(0, None)
    elif name in _NUMBERED:
        keys = slice(2, 2 + int(rest[1]))
    elif name == "SCAN":
        keys = slice(_after(rest, "MATCH"), _after(rest, "MATCH") + 1)
    elif name == "XREAD":
        streams = rest[_after(rest, "STREAMS") :]
        keys = slice(len(rest) - len(streams), len(rest) - len(streams) // 2)
    else:
        raise TypeError(f"{__name__} doesn't say which of the words after {name} are keys")
    rest[keys] = [f"{prefix}{key}" for key in rest[keys]]
    return [command, *rest]


class _Prefixing:
    prefix = ""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return super().execute_command(*prefixed(self.prefix, args), **options)  # type: ignore[misc]


class PrefixedPipeline(_Prefixing, Pipeline):
    pass


class PrefixedRedis(_Prefixing, redis.Redis):
    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> PrefixedPipeline:
        made = PrefixedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        made.prefix = self.prefix
        return made


def _after(words: Sequence[Any], word: str) -> int:
    known = {word, word.encode()}  # redis-py's own commands have bytes
    return next(place for place, one in enumerate(words, start=1) if one in known)
