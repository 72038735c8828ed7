"""Images in object storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camfleet.errors import (
    AccessDenied,
    CallerError,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    InvalidRequest,
    ObjectMissing,
    ObjectTooLarge,
    SourceForbidden,
)
from camfleet.jobstore.s3_roots import CloudRoots, S3Roots
from camfleet.settings import Settings
from camfleet.storage.clouds import Clouds
from camfleet.storage.storage import Storage


class ObjectReader:
    """Reads images from the buckets that are open to workers; safe to share by threads."""

    def __init__(self, storage: Storage, roots: S3Roots) -> None:
        self._storage = storage
        self._roots = roots

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes of an object, at most `limit`, and its ETag.

        `ImageNotFound`, `ImageTooLarge`. `SourceForbidden`: not open, or access denied.
        `ImageError`: a malformed URI. `StorageUnavailable`.
        """
        with _image_errors():
            _refuse(self._roots.error, uri)
            stored = self._storage.get(uri, limit=limit)
        return stored.data, stored.etag


class CloudReader:
    """Reads images from other clouds' stores that are open to workers; safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._clouds = Clouds(settings)
        self._roots = CloudRoots.of(settings)

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes of an object, at most `limit`, and its ETag.

        Errors are those of `ObjectReader.read`, but `SourceUnreachable` for a cloud that doesn't
        answer: it isn't the store that camfleet can't do without.
        """
        with _image_errors():
            roots = self._roots.get(uri.partition("://")[0])
            if roots is None:
                raise InvalidRequest(f"{uri!r} is not of the form az://container/key")
            _refuse(roots.error, uri)
            stored = self._clouds.get(uri, limit=limit)
        return stored.data, stored.etag


def _refuse(judge: Callable[[str], CallerError | None], uri: str) -> None:
    forbidden = judge(uri)
    if forbidden:
        raise forbidden


@contextmanager
def _image_errors() -> Iterator[None]:
    """Translate what is an image's own fault."""
    try:
        yield
    except ObjectMissing as error:
        raise ImageNotFound(str(error)) from error
    except ObjectTooLarge as error:
        raise ImageTooLarge(f"{error} (CAMFLEET_MAX_IMAGE_BYTES)") from error
    except AccessDenied as error:
        raise SourceForbidden(str(error)) from error
    except InvalidRequest as error:
        raise ImageError(str(error)) from error
