"""The bytes that a URI names: from object storage, from a web server, or from a folder.

A worker reads on behalf of whoever sends it a message, with rights that the sender may not have.
So local files are closed unless the operator opens their folder, and web servers unless public.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from camfleet.errors import SourceForbidden

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)


class Reader(Protocol):
    """Reads what lies at URIs of one kind."""

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes at `uri`, at most `limit`, and an ETag if there is one.

        An `ImageError` says why not, once and for all; a `ServiceError` is worth a retry.
        """


@dataclass(frozen=True)
class Fetched:
    data: bytes
    etag: str | None


class Fetcher:
    """Fetches images by URI, each by the reader of its scheme; safe to share by threads."""

    def __init__(
        self, *, objects: Reader, clouds: Reader, web: Reader, files: Reader, max_bytes: int
    ) -> None:
        self._max_bytes = max_bytes
        self._readers = {"s3": objects, "az": clouds, "gs": clouds, "file": files}
        self._readers |= {"http": web, "https": web}

    def fetch(self, uri: str) -> Fetched:
        """Return the bytes at `uri`: s3, az, gs, http(s) or file URI, or an absolute path.

        Errors are those of `Reader.read`.
        """
        scheme = _SCHEME.match(uri)
        name = "file" if uri.startswith("/") else scheme[1].lower() if scheme else ""
        if name not in self._readers:
            problem = f"is of the scheme {name}" if name else "is a relative path"
            raise SourceForbidden(
                f"{uri!r} {problem}; a worker reads s3://, az://, gs://, http://, https://, "
                "file:// and absolute paths"
            )
        return Fetched(*self._readers[name].read(uri, self._max_bytes))
