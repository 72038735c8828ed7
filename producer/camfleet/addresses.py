"""What CAMFLEET_REDIS_URL means: where the server is, how Celery writes it, how TLS is verified.

Whoever connects to Redis takes its options from here, so that no connection is less strict than
the others: with `rediss://` the certificate and the host's name are always verified.
"""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from camfleet.errors import ConfigurationError

_FORMS = (
    "redis://:PASSWORD@HOST:PORT/DATABASE, sentinel://:PASSWORD@HOST:PORT;HOST:PORT/DATABASE, "
    "rediss:// or sentinels:// for TLS, or unix://:PASSWORD@/PATH?db=DATABASE "
    "(password, port and database may be missing)"
)
_SENTINELS = ("sentinel", "sentinels")
_SCHEMES = ("redis", "rediss", "unix", *_SENTINELS)
_SENTINEL_PORT = 26379
_STRICT = {"ssl_cert_reqs": ("required", "cert_required"), "ssl_check_hostname": ("true", "1")}


@dataclass(frozen=True)
class Sentinels:
    """Sentinels, and how to log in to the primary that they name."""

    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    database: int


def sentinels_of(url: str) -> Sentinels | None:
    """Return what the URL says of sentinels; None if it names a server."""
    if not is_sentinel(url):
        return None
    places = [urlsplit(piece) for piece in url.split(";")]
    first = places[0]
    return Sentinels(
        hosts=tuple((place.hostname or "", place.port or _SENTINEL_PORT) for place in places),
        username=unquote(first.username) if first.username else None,
        password=unquote(first.password) if first.password is not None else None,
        database=int(first.path.strip("/") or 0),
    )


def is_sentinel(url: str) -> bool:
    return urlsplit(url).scheme in _SENTINELS


def is_encrypted(url: str) -> bool:
    return urlsplit(url).scheme in ("rediss", "sentinels")


def normalize(url: str) -> str:
    """Return the URL without options that say what holds anyway, one of sentinels as kombu's.

    Raises `ConfigurationError` for what no library here can connect to, and for every other
    option: those of TLS would weaken it for some connections and not for others. It quotes
    nothing of the URL, any part of which may turn out to be one of a password.
    """
    flaw = _flaw_of_sentinels(url) if url.startswith(_SENTINELS) else _flaw(url)
    if flaw:
        raise ConfigurationError(f"CAMFLEET_REDIS_URL is not of the form {_FORMS}: {flaw}")
    if url.startswith(_SENTINELS):
        return _complete(url)
    place = urlsplit(url)
    for name, value in parse_qsl(place.query, keep_blank_values=True):
        if value.lower() not in _STRICT.get(name, ()) and not _is_database(place, name, value):
            raise ConfigurationError(f"CAMFLEET_REDIS_URL: {_refusal(name)}")
    return url if place.scheme == "unix" else place._replace(query="").geturl()


def name_of(url: str) -> str:
    """Return the server as messages name it: host and port, or the path of a socket.

    The server behind sentinels is called by these, as it changes.
    """
    found = sentinels_of(url)
    if found:
        return f"the primary (by sentinels {', '.join(map(_host_and_port, found.hosts))})"
    place = urlsplit(url)
    if place.scheme == "unix":
        return place.path
    return _host_and_port((place.hostname or "", place.port or 6379))


def for_celery(url: str) -> str:
    """Return the URL as Celery and kombu write it."""
    place = urlsplit(url)
    if place.scheme in _SENTINELS:  # of which it knows one scheme
        return url.replace("sentinels://", "sentinel://")
    if place.scheme != "unix":
        return url.replace(";", "%3B")  # to Celery it separates several URLs
    database = dict(parse_qsl(place.query)).get("db", "0")
    login = place.netloc  # as in unix://:password@/path
    return f"redis+socket://{login}{place.path}?{urlencode({'virtual_host': database})}"


def tls_options(url: str, ca_file: str) -> dict[str, Any]:
    """Return redis-py's options for a verified connection; none for a server without TLS.

    Without `ca_file` the system's certificate authorities are trusted.
    """
    if not is_encrypted(url):
        return {}
    trusted = {"ssl_ca_certs": ca_file} if ca_file else {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **trusted}


def check_key_prefix(prefix: str) -> None:
    """Raise `ConfigurationError` unless it's one that Celery takes as it is."""
    if prefix and not re.fullmatch(r"[A-Za-z0-9:_.-]{0,99}[:_.-]", prefix):
        raise ConfigurationError(
            "CAMFLEET_KEY_PREFIX has at most 100 letters, digits, colons, dashes, dots and "
            "underscores, and ends with one of :_-."
        )


def check_ca_file(path: str) -> None:
    """Raise `ConfigurationError` unless the file holds certificates in PEM form."""
    try:
        ssl.create_default_context(cafile=Path(path))
    except OSError as error:
        no_pem = isinstance(error, ssl.SSLError)
        reason = "no certificate in PEM form" if no_pem else error.strerror
        raise ConfigurationError(f"CAMFLEET_CA_FILE={path!r} can't be used: {reason}") from error


def check_endpoint(url: str, *, virtual: bool = False) -> None:
    """Raise `ConfigurationError` unless it's an S3 endpoint's; secrets have no place in it.

    `virtual`: buckets are to stand before its host, which must have a name then.
    """
    try:
        place = urlsplit(url)
        complete = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:  # whose text quotes
        complete = False
    if not complete:
        raise ConfigurationError("CAMFLEET_S3_ENDPOINT is not of the form http://host:port")
    if "@" in url or place.query or place.fragment:
        raise ConfigurationError(
            "CAMFLEET_S3_ENDPOINT has more in it than http://host:port and a path: keys belong "
            "into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if virtual and re.fullmatch(r"[\d.]+|.*:.*", place.hostname or ""):
        raise ConfigurationError(
            "CAMFLEET_S3_ADDRESSING=virtual puts the bucket before the host of "
            "CAMFLEET_S3_ENDPOINT, which is an address: give its name, or CAMFLEET_S3_ADDRESSING="
            "path"
        )


def _host_and_port(host: tuple[str, int]) -> str:
    name, port = host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _complete(url: str) -> str:
    """Return a URL of sentinels with scheme, login and database for each, as kombu wants it."""
    places = [urlsplit(piece) for piece in _pieces(url)]
    login = "".join(places[0].netloc.rpartition("@")[:2])
    database = next((found for place in places if (found := place.path.strip("/"))), "0")
    hosts = [
        _host_and_port((place.hostname or "", place.port or _SENTINEL_PORT)) for place in places
    ]
    return ";".join(f"{places[0].scheme}://{login}{host}/{database}" for host in hosts)


def _pieces(url: str) -> list[str]:
    """Return a URL of sentinels as one URL for each."""
    scheme = url.partition("://")[0]
    return [
        piece if piece.startswith(f"{scheme}://") else f"{scheme}://{piece}"
        for piece in url.split(";")
    ]


def _flaw_of_sentinels(url: str) -> str:
    """Return what is wrong with the form of a URL of sentinels, and quote nothing."""
    pieces = _pieces(url)
    for piece in pieces:
        if flaw := _flaw(piece):
            return f"of one of the sentinels, {flaw}; within a password ; is written %3B"
    places = [urlsplit(piece) for piece in pieces]
    if any(place.query for place in places):
        return "sentinels take no options: CAMFLEET_SENTINEL_MASTER and others say the rest"
    logins = {place.netloc.rpartition("@")[0] for place in places[1:] if "@" in place.netloc}
    if logins - {places[0].netloc.rpartition("@")[0]}:
        return "the first sentinel has the login for all, CAMFLEET_SENTINEL_PASSWORD is their own"
    if len({database for place in places if (database := place.path.strip("/"))}) > 1:
        return "it names several databases"
    return ""


def _flaw(url: str) -> str:
    """Return what is wrong with the form of a URL, and quote nothing; empty if nothing is."""
    try:
        place = urlsplit(url)
    except ValueError:  # whose text quotes
        return "its host can't be read"
    if place.scheme not in _SCHEMES:
        return "it begins with another scheme, or with none"
    path = "" if place.scheme == "unix" else place.path
    if place.fragment or "@" in path + place.query:
        return "within a password / is written %2F, ? is %3F and # is %23"
    if place.username and place.password is None:
        return "it has a user, but no password: a password alone is :PASSWORD@, a user alone USER:@"
    return _flaw_of_socket(place) if place.scheme == "unix" else _flaw_of_host(place)


def _flaw_of_socket(place: SplitResult) -> str:
    if place.netloc and not place.netloc.endswith("@"):
        return "nothing but :PASSWORD@ may stand before the path, where / is written %2F"
    return "" if place.path else "it has no path"


def _flaw_of_host(place: SplitResult) -> str:
    try:
        _ = place.port
    except ValueError:  # whose text quotes
        return "its port is not a number up to 65535; a password ends with @"
    host, database = place.hostname or "", place.path.strip("/")
    if not host or host != "".join(host.split()):
        return "it has no host, or one with spaces; a password ends with @"
    return "" if not database or database.isdecimal() else "its database is not a number"


def _is_database(place: SplitResult, name: str, value: str) -> bool:
    return place.scheme == "unix" and name == "db" and value.isdecimal()


def _refusal(name: str) -> str:
    known = re.fullmatch("[a-z_]+", name)
    if known and name.startswith("ssl_"):
        return (
            f"the option {name} is refused: certificate and host name of a rediss:// server are "
            "always verified, and CAMFLEET_CA_FILE names the file of a certificate authority of "
            "your own"
        )
    option = f"the option {name}" if known else "an option in it"
    return f"{option} is not known; the URL's form is {_FORMS}"
