"""Images in object storage."""

from camfleet.errors import (
    AccessDenied,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    InvalidRequest,
    ObjectMissing,
    ObjectTooLarge,
    SourceForbidden,
)
from camfleet.jobstore.s3_roots import S3Roots
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
        try:
            forbidden = self._roots.error(uri)
            if forbidden:
                raise forbidden
            stored = self._storage.get(uri, limit=limit)
        except ObjectMissing as error:
            raise ImageNotFound(str(error)) from error
        except ObjectTooLarge as error:
            raise ImageTooLarge(f"{error} (CAMFLEET_MAX_IMAGE_BYTES)") from error
        except AccessDenied as error:
            raise SourceForbidden(str(error)) from error
        except InvalidRequest as error:
            raise ImageError(str(error)) from error
        return stored.data, stored.etag
