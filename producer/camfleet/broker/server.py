"""What a server must be like besides being there, as far as it says so itself."""

from collections.abc import Iterator
from typing import Any

from camfleet import addresses
from camfleet.broker.redis import Redis
from camfleet.contract.checks import Check, apart, seconds_ahead
from camfleet.errors import BrokerUnavailable, ConfigurationError
from camfleet.settings import Settings


def check_server(redis: Redis, settings: Settings) -> None:
    """Raise `ConfigurationError` for a cluster; `BrokerUnavailable` for what may lose writes.

    Behind sentinels a primary that was cut off goes on taking writes until it's demoted, which
    are lost then, unless it needs a replica for them.
    """
    place = addresses.name_of(settings.redis_url)
    if redis.run("INFO", "cluster").get("cluster_enabled"):
        raise ConfigurationError(
            f"Redis at {place} is a cluster, which camfleet and Celery can't use: name one server, "
            "or a primary by its sentinels (docs/operating.md#sentinel)"
        )
    if not addresses.is_sentinel(settings.redis_url):
        return
    if "min_slaves_good_slaves" not in redis.run("INFO", "replication"):
        raise BrokerUnavailable(
            f"Redis at {place} takes writes without any replica, and loses them in a failover: set "
            "min-replicas-to-write 1 and min-replicas-max-lag 2 on all of its servers "
            "(docs/operating.md#sentinel)"
        )


_OLDEST = 7
_CLOCK_SECONDS = 60
_EVICTED = (
    "when it's full, Redis throws messages and totals away: images stay unexplained, jobs count "
    "wrong; set maxmemory-policy noeviction"
)
_NOT_KEPT = (
    "when Redis is killed, requests and sessions of the last minutes or all are "
    "gone; jobs are rebuilt from the bucket; set appendonly yes"
)
_AGES = "leases and heartbeats of this machine are shown too old or too new; let NTP set both"


def look_at(redis: Redis, settings: Settings) -> Iterator[Check]:
    """Yield how a server is configured, by what any user of it may ask (INFO)."""
    about: dict[str, Any] = redis.run("INFO", "server")
    version = str(about.get("valkey_version") or about.get("redis_version", "0"))
    is_old = int(version.split(".", maxsplit=1)[0]) < _OLDEST
    yield Check(
        what="Redis' version",
        found=f"{'Valkey' if 'valkey_version' in about else 'Redis'} {version}",
        costs=f"camfleet needs commands of Redis {_OLDEST}" if is_old else "",
        missing=is_old,
    )
    yield _eviction(redis.run("INFO", "memory"))
    kept = bool(redis.run("INFO", "persistence").get("aof_enabled"))
    yield Check(
        what="Redis' persistence",
        found="each write is appended to a file" if kept else "no append-only file",
        costs="" if kept else _NOT_KEPT,
    )
    yield _replicas(redis.run("INFO", "replication"), settings)
    ahead = seconds_ahead(redis.now)
    yield Check(
        what="Redis' clock",
        found=apart(ahead),
        costs=_AGES if abs(ahead) > _CLOCK_SECONDS else "",
    )


def _eviction(memory: dict[str, Any]) -> Check:
    """Return what is lost when the memory is full; without a limit it isn't, by Redis."""
    policy, limit = str(memory.get("maxmemory_policy")), int(memory.get("maxmemory", 0))
    evicts = policy != "noeviction"
    found = f"{policy}, {f'at most {limit >> 20} MiB' if limit else 'without a limit of memory'}"
    return Check(
        what="Redis' policy",
        found=found,
        costs=_EVICTED if evicts else "",
        missing=evicts and limit > 0,
    )


def _replicas(said: dict[str, Any], settings: Settings) -> Check:
    number = int(said.get("connected_slaves", 0))
    if said.get("role") != "master":
        return Check(
            what="Redis' replicas",
            found="this server is a replica itself",
            costs="it takes no writes: name its primary in CAMFLEET_REDIS_URL",
            missing=True,
        )
    needs = "writes need one" if "min_slaves_good_slaves" in said else "writes need none"
    sole = "" if addresses.is_sentinel(settings.redis_url) else ", and no sentinels"
    return Check(what="Redis' replicas", found=f"{number} ({needs}){sole}")
