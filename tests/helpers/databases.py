"""Databases of the tests' one Redis, so that what they leave there isn't seen by others."""

from dataclasses import replace


def url_of(url, number):
    """Return the URL of another database, from that of database 0."""
    return f"{url.removesuffix('0')}{number}"


def on_database(settings, number, **changes):
    """Return settings for another database of the same server."""
    return replace(settings, redis_url=url_of(settings.redis_url, number), **changes)
