"""Databases of the tests' one Redis, so that what they leave there isn't seen by others."""

from contextlib import closing, contextmanager
from dataclasses import replace

from camfleet.broker.redis import redis_client

_URL = "CAMFLEET_REDIS_URL"


def on_database(settings, number, **changes):
    """Return settings for another database of the same server."""
    return replace(settings, redis_url=_url(settings.redis_url, number), **changes)


def environ_on(environ, number):
    """Return the environment of a process that uses another database of the same server."""
    return {**environ, _URL: _url(environ[_URL], number)}


@contextmanager
def emptied_redis(settings):
    """Give a client of a database that's empty at first."""
    with closing(redis_client(settings)) as made:
        made.flushdb()
        yield made


def _url(url, number):
    return f"{url.rpartition('/')[0]}/{number}"
