"""Small pictures of a job's images, for pages that show some of them."""

from functools import partial

from camfleet.contract.messages import ErrorInfo, Thumbnail, ThumbnailsRequest
from camfleet.errors import CamfleetError, ImageUnreadable
from camfleet.jobstore import keys
from camfleet.jobstore.records import check_id
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet.storage.storage import Storage
from camfleet_worker.pictures import draw
from camfleet_worker.pictures.decoders import Decoders
from camfleet_worker.pictures.load import Wanted
from camfleet_worker.pipeline.several import Load, for_several
from camfleet_worker.pipeline.threads import Pools
from camfleet_worker.sources.fetch import Fetcher


class Thumbnailer:
    """Makes small pictures under the same limits as explanations. Safe to share by threads."""

    def __init__(
        self, *, storage: Storage, fetcher: Fetcher, pools: Pools, decoders: Decoders
    ) -> None:
        self._storage = storage
        self._fetcher = fetcher
        self._pools = pools
        self._decoders = decoders

    def make(self, request: ThumbnailsRequest) -> tuple[ErrorInfo | None, ...]:
        """Write the pictures to storage; return for each why there's none, or None."""
        check_id(request.job_id)
        work = partial(self._make, request)
        return for_several(work, request.images, self._pools, self._decoders)

    def _make(self, request: ThumbnailsRequest, wanted: Thumbnail, load: Load) -> ErrorInfo | None:
        try:
            data = self._draw(wanted, request.side, load)
        except CamfleetError as error:
            return ErrorInfo(code=error.code, message=error.message)
        key = keys.thumbnail(request.job_id, wanted, request.side)
        self._storage.put(key, data, "image/jpeg")
        return None

    def _draw(self, wanted: Thumbnail, side: int, load: Load) -> bytes:
        uri = wanted.image_uri
        fetched = self._fetcher.fetch(uri)
        if wanted.image_etag not in (None, fetched.etag):
            raise ImageUnreadable(f"{uri} has changed since it was explained")
        photo = load(fetched.data, _WHOLE if wanted.crop else _small(side), uri=uri)
        assert photo.canvas is not None  # it was asked for
        return draw.thumbnail_jpeg(photo.canvas, wanted.crop, side)


def _small(side: int) -> Wanted:
    return Wanted(CardInput(height=1, width=1), Preprocessing(), side)


_WHOLE = _small(0)
