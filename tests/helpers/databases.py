"""Databases of the tests' one Redis, so that what they leave there isn't seen by others."""

from dataclasses import replace

_URL = "CAMFLEET_REDIS_URL"


def on_database(settings, number, **changes):
    """Return settings for another database of the same server."""
    return replace(settings, redis_url=_url(settings.redis_url, number), **changes)


def environ_on(environ, number):
    """Return the environment of a process that uses another database of the same server."""
    return {**environ, _URL: _url(environ[_URL], number)}


def _url(url, number):
    return f"{url.rpartition('/')[0]}/{number}"
