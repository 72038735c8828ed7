"""Images that Label Studio keeps, which only its users may read."""

from camfleet.errors import (
    CamfleetError,
    ConfigurationError,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.label_studio.api import Api
from camfleet.label_studio.connection import Answer
from camfleet.label_studio.places import TOKEN, URL
from camfleet_worker.sources.fetch import Reader

MAX_REDIRECTS = 5
_MAX_ETAG = 200


class LabelStudioReader:
    """Reads files of the one server that the settings name, as its user; all else by `web`.

    Safe to share by threads.
    """

    def __init__(self, api: Api, web: Reader, seconds: float) -> None:
        self._api = api
        self._web = web
        self._seconds = seconds

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        """Return the bytes at `uri`, at most `limit`, and an ETag if there is one.

        Raises what `WebReader.read` does. The token stays with the server: whatever that redirects
        to is read as any other image is.
        """
        if not self._api.server.is_file(uri):
            return self._read_elsewhere(uri, limit)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                answer = self._api.get(uri, limit, self._seconds)
            except ConfigurationError as error:
                raise SourceForbidden(str(error)) from error
            if answer.location is None:
                return _image(uri, answer, limit)
            if not self._api.server.is_file(answer.location):
                return self._web.read(answer.location, limit)
            uri = answer.location
        raise ImageError(f"{uri} redirects more than {MAX_REDIRECTS} times")

    def _read_elsewhere(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        try:
            return self._web.read(uri, limit)
        except SourceForbidden as error:
            if "/data/upload/" not in uri and "/data/local-files/" not in uri:
                raise
            raise SourceForbidden(
                f"{error}; if that's Label Studio: set {URL} and {TOKEN} for the workers"
            ) from error


def _image(uri: str, answer: Answer, limit: int) -> tuple[bytes, str | None]:
    """Return an image's bytes and ETag, or raise what the answer says."""
    if answer.status != 200:
        raise _refusal(uri, answer.status)
    if answer.body is None:
        raise ImageTooLarge(
            f"{uri} has more than {limit} bytes, the limit (CAMFLEET_MAX_IMAGE_BYTES)"
        )
    etag = answer.etag.strip('"')
    return answer.body, etag if 0 < len(etag) <= _MAX_ETAG else None


def _refusal(uri: str, status: int) -> CamfleetError:
    if status in (404, 410):
        hint = (
            "; it serves local files only with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, of "
            "folders that are a source storage of a project"
            if "/data/local-files/" in uri
            else ""
        )
        return ImageNotFound(f"Label Studio answers {status} for {uri}{hint}")
    if status == 403:
        return SourceForbidden(
            f"Label Studio answers 403 for {uri}: the user of {TOKEN} may not read it"
        )
    if status in (408, 425, 429) or status >= 500:
        return SourceUnreachable(f"Label Studio answers {status} for {uri}")
    return ImageError(f"Label Studio answers {status} for {uri}")
