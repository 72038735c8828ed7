"""The bytes that a URI names: from object storage, from a web server, or from a folder.

A worker reads on behalf of whoever sends it a message, with rights that they may not have. So
local files are closed unless a folder is opened to it, and web servers only in public.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from camfleet.errors import (
    SourceForbidden,
)
from camfleet.settings import Settings
from camfleet_worker.sources.files import LocalReader
from camfleet_worker.web.client import WebReader

Read = Callable[[str, int], tuple[bytes, str | None]]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)


@dataclass(frozen=True)
class Fetched:
    data: bytes
    etag: str | None


class Fetcher:
    """Fetches images by URI; safe to share by threads.

    `read_object(uri, limit)` reads from object storage and raises camfleet's own errors; `web`
    reads http and https, by default as the settings say.
    """

    def __init__(
        self, settings: Settings, read_object: Read, *, web: WebReader | None = None
    ) -> None:
        self._limit = settings.max_image_bytes
        web_read = (web or WebReader(settings)).read
        self._readers: dict[str, Read] = {
            "s3": read_object,
            "http": web_read,
            "https": web_read,
            "file": LocalReader(settings.file_roots).read,
        }

    def fetch(self, uri: str) -> Fetched:
        """Return the bytes at `uri`: s3://, http://, https://, file:// or an absolute path.

        An `ImageError` says why not, once and for all; a `ServiceError` is worth a retry.
        """
        scheme = _SCHEME.match(uri)
        name = "file" if uri.startswith("/") else scheme[1].lower() if scheme else ""
        if name not in self._readers:
            problem = f"is of the scheme {name}" if name else "is a relative path"
            raise SourceForbidden(
                f"{uri!r} {problem}; a worker reads s3://, http://, https://, file:// and "
                "absolute paths"
            )
        return Fetched(*self._readers[name](uri, self._limit))
