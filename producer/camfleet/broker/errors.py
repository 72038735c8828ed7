"""What the exceptions of redis-py, kombu and Celery mean, in camfleet's errors."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from camfleet import addresses
from camfleet.errors import BrokerDamaged, BrokerUnavailable, CamfleetError
from camfleet.settings import Settings

_REASONS = {  # by Redis' own word or redis-py's class; the first of an error that is here counts
    "AuthenticationError": "Redis at {place} refuses the password ({error}): check "
    "CAMFLEET_REDIS_URL",
    "OutOfMemoryError": "Redis at {place} is full (maxmemory): give it more memory; workers wait, "
    "and nothing is lost",
    "ReadOnlyError": "Redis at {place} is a replica and takes no writes: either a failover is "
    "under way, try again in a while, or CAMFLEET_REDIS_URL must name the primary",
    "BusyLoadingError": "Redis at {place} is loading its data: it answers in a while",
    "NOREPLICAS": "no replica of Redis at {place} keeps up, so it takes no writes "
    "(min-replicas-to-write): a failover may be under way, or a replica is to be started",
    "MasterNotFoundError": "{place}: none of them knows a primary that is up ({error}): a "
    "failover may be under way; CAMFLEET_SENTINEL_MASTER must be the name they watch it by, and "
    "CAMFLEET_SENTINEL_PASSWORD their own password, if they have one",
    **dict.fromkeys(
        ("MOVED", "ClusterError", "ClusterDownError", "ClusterCrossSlotError", "MovedError"),
        "Redis at {place} is a cluster, which camfleet and Celery can't use: name one server, or "
        "a primary by its sentinels ({error})",
    ),
    "ResponseError": "Redis at {place} refuses a command: {error}",
    "SSLCertVerificationError": "the certificate of Redis at {place} can't be trusted "
    "({error}), so no password was sent; CAMFLEET_CA_FILE names the certificate authority",
    "SSLError": "no TLS connection to Redis at {place} ({error}): does its port speak TLS, as "
    "rediss:// in CAMFLEET_REDIS_URL says?",
    "Exception": "no Redis at {place} ({error}); is it running{tls}, and is CAMFLEET_REDIS_URL "
    "right?",
}
# What Redis says of values that camfleet can't have written. To wait wouldn't help.
_DAMAGE = re.compile(r"WRONGTYPE|not an integer|not a valid float|attempt to [a-z]+ ")
_LONGEST = 300  # characters of such an error, which may quote a whole command
_LIBRARIES = {"amqp", "celery", "kombu", "redis", "socket", "ssl", "vine"}
_BREAKDOWNS = (AttributeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError)


@contextmanager
def broker_errors(settings: Settings) -> Iterator[None]:
    """Translate what redis-py, kombu and Celery raise into `BrokerUnavailable`.

    `BrokerDamaged`: what lies in Redis has another type or form than camfleet writes.
    While Redis fails over they also break down inside, with an `AttributeError` of a connection
    that is None, or a `RuntimeError`. Such an error counts only if it came out of them.
    """
    from kombu.exceptions import BatchPublishError, OperationalError
    from redis.exceptions import RedisError

    try:
        yield
    except CamfleetError:
        raise
    except (RedisError, OperationalError, BatchPublishError) as error:
        if _is_damage(error):
            raise BrokerDamaged(
                f"Redis at {addresses.name_of(settings.redis_url)} holds what camfleet didn't "
                f"write there: {str(error)[:_LONGEST]}"
            ) from error
        raise unavailable(settings.redis_url, error) from error
    except _BREAKDOWNS as error:
        if not _is_from_libraries(error.__traceback__):
            raise
        raise unavailable(settings.redis_url, error) from error


def unavailable(url: str, error: BaseException) -> BrokerUnavailable:
    """Return what an error of a library means to an operator."""
    cause = _cause(error)
    text = getattr(cause, "verify_message", "") or str(cause) or type(cause).__name__
    names = (_word(cause), *(kind.__name__ for kind in type(cause).__mro__))
    reason = next(_REASONS[name] for name in names if name in _REASONS)
    tls = ", does that port speak TLS" if addresses.is_encrypted(url) else ""
    return BrokerUnavailable(reason.format(place=addresses.name_of(url), error=text, tls=tls))


def is_refusal(error: BrokerUnavailable) -> bool:
    """Return whether waiting can't help: the password or the certificate is refused."""
    from redis.exceptions import AuthenticationError

    return error.__cause__ is not None and isinstance(
        _cause(error.__cause__), ssl.SSLCertVerificationError | AuthenticationError
    )


def is_demoted(error: BaseException) -> bool:
    """Return whether a server takes no writes since it's a replica, or has lost its own."""
    from redis.exceptions import ReadOnlyError

    return isinstance(error, ReadOnlyError) or _word(error) == "NOREPLICAS"


def _word(error: BaseException) -> str:
    """Return the first word of what Redis said; redis-py puts a pipeline's command before it."""
    return str(error).rpartition(" caused error: ")[2].partition(" ")[0]


def _is_damage(error: BaseException) -> bool:
    """Return whether Redis refuses a command because of what lies there."""
    from redis.exceptions import ResponseError

    cause = _cause(error)
    return isinstance(cause, ResponseError) and _DAMAGE.search(str(cause)) is not None


def _cause(error: BaseException) -> BaseException:
    """Return the error that says most: kombu wraps redis-py's, redis-py wraps those of TLS."""
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) and deeper not in chain:
        chain.append(deeper)
    from redis.exceptions import ReadOnlyError

    for found in chain:
        if isinstance(found, ssl.SSLError | ReadOnlyError):  # redis-py says less than these
            return found
    while error.__cause__:
        error = error.__cause__
    return error


def _is_from_libraries(trace: TracebackType | None) -> bool:
    """Return whether an error was raised below the last call out of camfleet's own code."""
    packages = []
    while trace:
        packages.append(trace.tb_frame.f_globals.get("__name__", "").partition(".")[0])
        trace = trace.tb_next
    own = max((place for place, name in enumerate(packages) if name == "camfleet"), default=0)
    return bool(_LIBRARIES & set(packages[own + 1 :]))
