"""What a server must be like besides being there, as far as it says so itself."""

from camfleet import addresses
from camfleet.broker.redis import Redis
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
