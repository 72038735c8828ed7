"""Files of reports and comparisons, in a folder or in object storage."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from camfleet.contract.codec import Wire
from camfleet.errors import InvalidRequest
from camfleet.storage.storage import Storage

PAGE = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
}


def as_json(document: Wire) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def write(storage: Storage, files: Mapping[str, bytes], place: str) -> str:
    """Write files to a folder or below `s3://bucket/prefix`, in their order; return the last one's.

    Raises `InvalidRequest` where a folder can't be written.
    """
    written = ""
    for name, data in files.items():
        if place.startswith("s3://"):
            uri = f"{place.rstrip('/')}/{name}"
            written = storage.put(uri, data, _KINDS[Path(name).suffix])
        else:
            written = _write(Path(place) / name, data)
    return written


def _write(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror or error}") from error
    return str(path)
