"""Images in object storage."""

from collections.abc import Callable

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
from camfleet.storage.storage import Storage


def object_reader(storage: Storage) -> Callable[[str, int], tuple[bytes, str | None]]:
    """Return a function that reads an image from object storage, in the errors of images."""

    def read(uri: str, limit: int) -> tuple[bytes, str | None]:
        try:
            stored = storage.get(uri, limit=limit)
        except ObjectMissing as error:
            raise ImageNotFound(str(error)) from error
        except ObjectTooLarge as error:
            raise ImageTooLarge(f"{error} (CAMFLEET_MAX_IMAGE_BYTES)") from error
        except AccessDenied as error:
            raise SourceForbidden(str(error)) from error
        except InvalidRequest as error:
            raise ImageError(str(error)) from error
        return stored.data, stored.etag

    return read
