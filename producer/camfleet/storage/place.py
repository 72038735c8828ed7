"""The address of an object, and what it holds."""

from dataclasses import dataclass
from typing import Final

from camfleet.errors import InvalidRequest, ObjectTooLarge

LONGEST_URL: Final = 7 * 24 * 3600  # seconds that a signature of version 4 may be valid
AMAZON: Final = "Amazon S3"  # the host of a store without an endpoint of its own
ABSENT: Final = "*"  # in the place of an ETag: there must be no object yet


@dataclass(frozen=True)
class StoredObject:
    data: bytes
    etag: str | None


@dataclass(frozen=True)
class Place:
    """One object of one store; `own`: in the settings' bucket, the operator's responsibility."""

    host: str
    bucket: str
    key: str
    own: bool
    scheme: str = "s3"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as listings name it."""

    key: str
    nbytes: int
    modified_at: float  # seconds since the epoch


def split_uri(uri: str, expected: str = "s3") -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; keys are taken as they stand, not unquoted."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != expected or not bucket:
        raise InvalidRequest(f"{uri!r} is not of the form {expected}://bucket/key")
    return bucket, key


def check_size(place: Place, size: int, limit: int | None) -> None:
    """Raise `ObjectTooLarge` if an object's `size` exceeds the caller's limit."""
    if limit is not None and size > limit:
        raise ObjectTooLarge(f"{place} has {size} bytes, more than {limit}")
