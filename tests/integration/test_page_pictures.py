"""Small pictures of a page: crops are larger, since they're looked at closely."""

import pytest

from camfleet import Client
from camfleet.audit import photographs
from camfleet.contract.messages import ErrorInfo, Thumbnail
from camfleet.jobstore import keys


@pytest.fixture(scope="module")
def storage(settings):
    with Client(settings) as made:
        yield made.storage


def pictures(count):
    """Return pictures of which every third is a crop."""
    return [
        Thumbnail(
            image_uri=f"/page/{number}.jpg",
            image_etag=None,
            crop=(0.0, 0.0, 9.0, 9.0) if number % 3 == 0 else None,
        )
        for number in range(count)
    ]


def test_each_picture_is_asked_for_once_in_its_own_size_and_found_there_again(storage):
    wanted, asked = pictures(40), []

    def ask(request):
        asked.append(request)
        for picture in request.images[1:]:
            key = keys.thumbnail(request.job_id, picture, request.side)
            storage.put(key, picture.image_uri.encode(), "image/jpeg")
        lost = ErrorInfo(code="image_not_found", message="gone")
        return (lost, *(None for _ in request.images[1:]))

    found = photographs.load("page-pictures", wanted, storage, ask)
    assert found.keys() == {*wanted}
    sides = {picture: request.side for request in asked for picture in request.images}
    assert sum(len(request.images) for request in asked) == len(sides) == len(wanted)
    assert sorted(len(request.images) for request in asked) == [2, 6, 8, 8, 8, 8]
    for picture, side in sides.items():
        assert side == (photographs.CROP_SIDE if picture.crop else photographs.SIDE)
    made = {picture for picture in wanted if found[picture] == picture.image_uri.encode()}
    assert {found[picture] for picture in {*wanted} - made} == {"image not found"}
    asked.clear()
    photographs.load("page-pictures", [*made], storage, ask)
    assert not asked
