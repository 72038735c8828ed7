"""Object storage against a real S3 server."""

import pytest

from camfleet.errors import InvalidRequest, ObjectMissing, ObjectTooLarge, StorageUnavailable
from camfleet.settings import Settings
from camfleet.storage import Storage


@pytest.fixture
def storage(settings):
    made = Storage(settings)
    yield made
    made.close()


def test_what_is_put_is_got_back_with_its_etag(storage):
    uri = storage.put("test/one", b"content", "text/plain")
    assert uri == f"s3://{storage.bucket}/test/one"
    found = storage.get(uri)
    assert found.data == b"content"
    assert found.etag
    assert storage.get("test/one") == found


def test_keys_with_odd_characters_survive(storage):
    key = "test/ä b+c%20#d?.jpg"
    storage.put(key, b"x", "image/jpeg")
    assert storage.get(f"s3://{storage.bucket}/{key}").data == b"x"
    assert key in list(storage.keys("test/"))


def test_a_missing_object_or_bucket_is_named(storage):
    with pytest.raises(ObjectMissing, match=f"s3://{storage.bucket}/none does not exist"):
        storage.get("none")
    with pytest.raises(ObjectMissing, match="s3://no-such-bucket/a"):
        storage.get("s3://no-such-bucket/a")
    assert not storage.exists("none")


def test_an_object_above_the_limit_is_not_read(storage):
    storage.put("test/large", bytes(1000), "application/octet-stream")
    with pytest.raises(ObjectTooLarge, match="1000 bytes"):
        storage.get("test/large", limit=999)
    assert len(storage.get("test/large", limit=1000).data) == 1000


def test_setting_up_twice_is_fine(storage):
    storage.set_up()
    storage.set_up()


def test_a_store_that_is_not_there_is_named_with_its_setting():
    lost = Storage(Settings(redis_url="", bucket="none", s3_endpoint="http://127.0.0.1:9"))
    with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:9 .*CAMFLEET_S3_ENDPOINT"):
        lost.get("a")
    lost.close()


@pytest.mark.parametrize("uri", ["s3://BAD_bucket!/a.png", "s3://x/"])
def test_a_uri_that_names_no_object_is_the_callers_fault(storage, uri):
    with pytest.raises(InvalidRequest, match=uri.split("/")[2]):
        storage.get(uri)
