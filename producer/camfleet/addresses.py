"""What CAMFLEET_REDIS_URL means: where the server is, how Celery writes it, how TLS is verified.

Whoever connects to Redis takes its options from here, so that no connection is less strict than
the others: with `rediss://` the certificate and the host's name are always verified.
"""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from camfleet.errors import ConfigurationError

_FORMS = "redis://[:PASSWORD@]HOST[:PORT]/DATABASE, rediss:// for TLS, or unix:///PATH?db=DATABASE"
_STRICT = {"ssl_cert_reqs": ("required", "cert_required"), "ssl_check_hostname": ("true", "1")}


def normalize(url: str) -> str:
    """Return the URL without options that say what holds anyway.

    Raises `ConfigurationError` for what no library here can connect to, and for every other
    option: those of TLS would weaken it for some connections and not for others.
    """
    place = _split(url)
    for name, value in parse_qsl(place.query, keep_blank_values=True):
        if value.lower() not in _STRICT.get(name, ()) and not _is_database(place, name, value):
            raise ConfigurationError(f"CAMFLEET_REDIS_URL: {_refusal(name, value)}")
    if place.scheme == "unix":
        return url
    return place._replace(query="", fragment="").geturl()


def name_of(url: str) -> str:
    """Return the server as messages name it: host and port, or the path of a socket."""
    place = urlsplit(url)
    if place.scheme == "unix":
        return place.path
    host = f"[{place.hostname}]" if ":" in (place.hostname or "") else place.hostname
    return f"{host}:{place.port or 6379}"


def for_celery(url: str) -> str:
    """Return the URL as Celery and kombu write it."""
    place = urlsplit(url)
    if place.scheme != "unix":
        return url.replace(";", "%3B")  # to Celery it separates several URLs
    database = dict(parse_qsl(place.query)).get("db", "0")
    login = place.netloc  # as in unix://:password@/path
    return f"redis+socket://{login}{place.path}?{urlencode({'virtual_host': database})}"


def tls_options(url: str, ca_file: str) -> dict[str, Any]:
    """Return redis-py's options for a verified connection; none for a server without TLS.

    Without `ca_file` the system's certificate authorities are trusted.
    """
    if urlsplit(url).scheme != "rediss":
        return {}
    trusted = {"ssl_ca_certs": ca_file} if ca_file else {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **trusted}


def check_ca_file(path: str) -> None:
    """Raise `ConfigurationError` unless the file holds certificates in PEM form."""
    try:
        ssl.create_default_context(cafile=Path(path))
    except OSError as error:
        no_pem = isinstance(error, ssl.SSLError)
        reason = "no certificate in PEM form" if no_pem else error.strerror
        raise ConfigurationError(f"CAMFLEET_CA_FILE={path!r} can't be used: {reason}") from error


def without_password(url: str) -> str:
    """Return a URL that may be shown."""
    before, at, after = url.rpartition("@")
    scheme, mark, _ = before.partition("://")
    return f"{scheme}{mark}***@{after}" if at else url


def _split(url: str) -> SplitResult:
    shown = without_password(url)
    try:
        place = urlsplit(url)
        complete = place.path if place.scheme == "unix" else place.hostname
        _ = place.port
    except ValueError as error:
        raise ConfigurationError(f"CAMFLEET_REDIS_URL={shown!r}: {error}") from error
    database = place.path.strip("/") if place.scheme != "unix" else ""
    if place.scheme not in ("redis", "rediss", "unix") or not complete or _is_word(database):
        raise ConfigurationError(f"CAMFLEET_REDIS_URL={shown!r} is not of the form {_FORMS}")
    return place


def _is_word(database: str) -> bool:
    return bool(database) and not database.isdecimal()


def _is_database(place: SplitResult, name: str, value: str) -> bool:
    return place.scheme == "unix" and name == "db" and value.isdecimal()


def _refusal(name: str, value: str) -> str:
    if name.startswith("ssl_"):
        return (
            f"{name}={value} is refused: certificate and host name of a rediss:// server are "
            "always verified, and CAMFLEET_CA_FILE names the file of a certificate authority of "
            "your own"
        )
    return f"the option {name!r} is not known; the URL's form is {_FORMS}"
