"""What both backends can do with a single object."""

from typing import Protocol

from camfleet.storage.place import Place, StoredObject


class Backend(Protocol):
    """A library that reads and writes single objects, and whose exceptions stop there."""

    def get(self, place: Place, limit: int | None) -> StoredObject:
        """Return an object; raise `ObjectTooLarge` before reading more than `limit` bytes."""

    def get_range(self, place: Place, start: int, length: int, etag: str | None) -> bytes:
        """Return a part of an object, less of it where the object ends before.

        Raises `ObjectDamaged` where it ends before `start`, and `ObjectChanged` where it has
        another ETag than the one given, if any.
        """

    def put(self, place: Place, data: bytes, content_type: str, etag: str | None) -> None:
        """Write; with an ETag over that version only, with `ABSENT` only where there's nothing.

        On a condition it tries once: a second try would find what the first one wrote.
        """

    def check(self, place: Place) -> None:
        """Raise `ObjectMissing` if there's no such object."""
