"""Images on web servers."""

from camfleet.errors import (
    CamfleetError,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet_worker.web.client import WHOLE, WebClient

_MAX_ETAG = 200
_BY_STATUS: dict[int, type[CamfleetError]] = {
    **dict.fromkeys((404, 410), ImageNotFound),
    **dict.fromkeys((401, 403, 407, 451), SourceForbidden),
    **dict.fromkeys((408, 425, 429), SourceUnreachable),
}


class WebReader:
    """Reads images over http and https; safe to share by threads."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes at `uri`, at most `limit`, and the answer's ETag.

        `SourceForbidden`: a private address, another scheme, 401 or 403. `ImageNotFound`: 404
        or 410. `ImageTooLarge`. `ImageError`: a malformed URL, another status, too many
        redirects. `SourceUnreachable`: no answer in time, a broken one, 429, 5xx.
        """
        answer = self._client.get(uri, limit)
        if answer.status not in WHOLE:
            raise _refusal(answer.status)(f"{answer.shown} answers {answer.status}")
        if answer.body is None:
            raise ImageTooLarge(
                f"{answer.shown} has {answer.announced or 'more'} bytes, the limit is {limit} "
                "(CAMFLEET_MAX_IMAGE_BYTES)"
            )
        etag = answer.etag.strip('"')
        return answer.body, etag if 0 < len(etag) <= _MAX_ETAG else None


def _refusal(status: int) -> type[CamfleetError]:
    return _BY_STATUS.get(status, SourceUnreachable if status >= 500 else ImageError)
