"""Reading camfleet's own objects, which somebody else may have written: bounded, errors named."""

from collections.abc import Iterator
from contextlib import contextmanager

from camfleet.contract.codec import D, W, decode_document, decode_json
from camfleet.errors import InvalidRequest, ObjectDamaged, ObjectTooLarge
from camfleet.storage.place import StoredObject
from camfleet.storage.storage import Storage

MOST_JSON = 2**24  # bytes
MOST_PART = 2**30  # bytes of a Parquet part, packed or not
MOST_VALUES = 2**27  # of what's read of a part at once: in Python each takes some 40 bytes


def read(storage: Storage, key: str, limit: int) -> StoredObject:
    """Return an object; raise `ObjectMissing`, or `ObjectDamaged` if it's larger than `limit`."""
    try:
        return storage.get(key, limit=limit)
    except ObjectTooLarge as error:
        raise ObjectDamaged(f"{error}: camfleet didn't write it") from error


def read_part(storage: Storage, key: str) -> StoredObject:
    """Return a Parquet part as `read` does."""
    return read(storage, key, MOST_PART)


def read_json(storage: Storage, key: str, kind: type[W], limit: int = MOST_JSON) -> W:
    """Return a JSON object; raise `ObjectMissing`, or `InvalidRequest` that names it."""
    with _as_invalid(storage, key):
        return decode_json(read(storage, key, limit).data, kind)


def read_document(storage: Storage, key: str, kind: type[D], limit: int = MOST_JSON) -> D:
    """Return a document; raise `ObjectMissing`, or `InvalidRequest` that names it."""
    with _as_invalid(storage, key):
        return decode_document(read(storage, key, limit).data, kind)


def write_over(storage: Storage, key: str, data: bytes, etag: str | None) -> None:
    """Write JSON over the version with this ETag; where that's None, only if there's nothing.

    Raises `ObjectChanged`.
    """
    if etag is None:
        storage.create(key, data, "application/json")
    else:
        storage.replace(key, data, "application/json", etag=etag)


def keys_below(storage: Storage, prefix: str, most: int) -> Iterator[str]:
    """Yield the keys below a prefix; raise `InvalidRequest` that names it after the `most`th."""
    for number, key in enumerate(storage.keys(prefix)):
        if number == most:
            raise InvalidRequest(
                f"below {storage.uri(prefix)} lie more than {most:,} objects, which camfleet can't "
                "have written: delete what isn't its own"
            )
        yield key


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Let an `ObjectDamaged` of the block name the object and the way out."""
    try:
        yield
    except ObjectDamaged as error:
        job = key.split("/")[1]
        raise ObjectDamaged(
            f"{key} is damaged ({error}); camfleet resume {job} runs its images again"
        ) from error


@contextmanager
def _as_invalid(storage: Storage, key: str) -> Iterator[None]:
    try:
        yield
    except ObjectDamaged as error:  # it's named already
        raise InvalidRequest(str(error)) from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{storage.uri(key)}: {error}") from error
