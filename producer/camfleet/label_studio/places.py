"""Which images of Label Studio's tasks may be read, and where they are.

A task names an image by a path on Label Studio's own server, which only its users may read, or by a
URI. Neither the server nor the token is ever what a caller names: both come from the settings.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from camfleet.errors import ConfigurationError, InvalidRequest, SourceForbidden
from camfleet.foreign import shown_url

URL = "CAMFLEET_LABEL_STUDIO_URL"
TOKEN = "CAMFLEET_LABEL_STUDIO_TOKEN"  # noqa: S105  # a setting's name
ORIGINS = "CAMFLEET_LABEL_STUDIO_ORIGINS"
_PARTS = re.compile(r"[/\\?&;=#]")
_STRIPPED = re.compile(r"[\t\r\n]")  # by readers of URLs
_FILES = ("data/upload/", "data/local-files/", "storage-data/uploaded/")


@dataclass(frozen=True)
class Server:
    """Label Studio as the settings name it: scheme, host and prefix, without a slash at the end."""

    url: str

    @property
    def origin(self) -> str:
        return origin_of(self.url)

    def is_file(self, uri: str) -> bool:
        """Return whether a URI is that of an image that this server keeps."""
        if not self.url or not uri.startswith(f"{self.url}/"):
            return False
        path = uri[len(self.url) + 1 :]
        return path.startswith(_FILES) and not _climbs(path)

    def find(self, value: str) -> str | None:
        """Return the URI of a file that a task names by its path, with or without the prefix.

        None: it's no path. Raises `SourceForbidden` for a path that is no file's, and
        `ConfigurationError` where no server is named.
        """
        if not value.startswith("/"):
            return None
        if not self.url:
            raise ConfigurationError(
                f"the image {value[:200]!r} lies on Label Studio itself: set {URL} to its address, "
                f"for camfleet serve and the workers, and {TOKEN} for the workers"
            )
        prefix = urlsplit(self.url).path
        inner = value.removeprefix(prefix) if prefix and value.startswith(f"{prefix}/") else value
        uri = self.url + inner
        if not self.is_file(uri):
            raise SourceForbidden(
                f"{value[:200]!r} is no image that Label Studio keeps: /data/upload/..., "
                "/data/local-files/?d=..."
            )
        return uri


@dataclass(frozen=True)
class TaskImages:
    """Finds the URI that a worker reads, of what a task names.

    `origins` are other web servers that may be read from, as presigned URLs of a bucket are.
    """

    server: Server
    origins: tuple[str, ...]

    def find(self, value: object) -> str:
        """Return the URI of a task's image.

        Raises `InvalidRequest` for what names none, `SourceForbidden` for one of another server,
        and `ConfigurationError`. Who may read which objects of `s3://` is for others to say.
        """
        if not isinstance(value, str) or not value:
            raise InvalidRequest("the task names no image: its value is no text")
        if value.startswith("s3://"):
            return value
        if uri := self.server.find(value):
            return uri
        if not value.startswith(("http://", "https://")):
            raise SourceForbidden(
                f"{value[:200]!r} is neither a path on Label Studio, nor s3://, nor http(s)://"
            )
        origin = origin_of(value)
        if self.server.is_file(value) or origin in self.origins:
            return value
        raise SourceForbidden(
            f"{shown_url(value)[:200]} is of a server that isn't open to tasks: add {origin} to "
            f"{ORIGINS} of camfleet serve"
        )


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in lower case; raise `SourceForbidden` for none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise SourceForbidden(f"{shown_url(url)[:200]!r} is no URL of a server")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")


def origins_of(urls: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(origin_of, urls))


def _climbs(path: str) -> bool:
    """Return whether a path, or one in its query, leads out of a folder once it's decoded."""
    before = None
    while path != before:
        before, path = path, unquote(path)
    path = _STRIPPED.sub("", path)
    return ".." in _PARTS.split(path)
