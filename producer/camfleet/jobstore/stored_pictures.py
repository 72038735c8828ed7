"""Pictures as a job stored them: objects of their own, or parts of a chunk's pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

_MOST_BYTES = 2**28  # of a picture
_JPEG = b"\xff\xd8\xff"
_BEGINNINGS = {  # of the files
    "heatmap": b"\x89PNG\r\n\x1a\n",
    "overlay": _JPEG,
    "raw": b"\x93NUMPY",
    "thumbnail": _JPEG,
}


@dataclass(frozen=True)
class Stored:
    """A picture that a row names.

    `key` is the same for all pictures of the row, and no other row's. `span` is its place in a
    pack, a `Span` as plain data; None of an object of its own.
    """

    kind: str
    uri: str
    key: object
    span: Mapping[str, Any] | None = None

    def read(self, storage: Storage, job_id: str | None = None) -> bytes:
        """Return the picture's bytes, with one request.

        Rows may be somebody else's: where they name a pack that isn't this job's (None: any of
        ours), or that has no such picture there, nothing is returned. Raises `ObjectMissing`,
        `ObjectDamaged`, and what an outage raises.
        """
        if self.span is None:
            return storage.get(self.uri, limit=_MOST_BYTES).data
        start, length = self.span.get("offset"), self.span.get("length")
        if not (_is_pack(self.uri, storage, job_id) and _is_range(start, length)):
            whose = f" for job {job_id}" if job_id else ""
            raise ObjectDamaged(
                f"the row says that its {self.kind} is {length} bytes from byte {start} of "
                f"{self.uri!r}: camfleet wrote no such row{whose}"
            )
        data = storage.get_range(self.uri, int(start or 0), int(length or 0))
        if not data.startswith(_BEGINNINGS[self.kind]):
            raise ObjectDamaged(f"there is no {self.kind} at byte {start} of {self.uri}")
        return data


def find(row: Mapping[str, Any], kind: str) -> Stored | None:
    """Return a row's picture of a kind, None where it has none."""
    if uri := row.get(f"{kind}_uri"):
        return Stored(kind, uri, uri.removesuffix(keys.PICTURES[kind][0]))
    pack = msgspec.to_builtins(row.get("pack"))
    span = pack and pack.get(kind)
    return Stored(kind, pack.get("uri") or "", pack, span) if span else None


def refuse_urls(what: str) -> InvalidRequest:
    """Return the error for whoever wants URLs of packed pictures."""
    return InvalidRequest(
        f"the pictures of {what} are packed: a URL opens whole objects, here all pictures of a "
        "chunk. camfleet get and camfleet gallery fetch single ones; for URLs submit without --pack"
    )


def _is_pack(uri: str, storage: Storage, job_id: str | None) -> bool:
    home = storage.uri("")
    return uri.startswith(home) and keys.is_pack(uri.removeprefix(home), job_id)


def _is_range(start: object, length: object) -> bool:
    return (
        isinstance(start, int)
        and isinstance(length, int)
        and start >= 0
        and 0 < length <= _MOST_BYTES
    )
