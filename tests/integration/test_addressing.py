"""Buckets in the path, or before the host: both at a store that knows both."""

import pytest

from camfleet.errors import ConfigurationError
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from helpers.s3_front import a_storefront
from helpers.stores import seaweedfs

DOMAIN = "s3.example"


@pytest.fixture(scope="module")
def endpoint(stack, tmp_path_factory):
    keys = stack.environ["AWS_ACCESS_KEY_ID"], stack.environ["AWS_SECRET_ACCESS_KEY"]
    with seaweedfs(tmp_path_factory.mktemp("store"), *keys, domain=DOMAIN) as url:
        yield url


@pytest.fixture
def asked(endpoint, monkeypatch):
    """Lead all names to the store, and give what it's asked for: hosts and paths."""
    with a_storefront(endpoint) as front:
        requests = []
        front.trouble = lambda _method, path: requests.append(path)
        monkeypatch.setenv("HTTP_PROXY", front.url)
        monkeypatch.setenv("http_proxy", front.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield requests


def use(storage):
    """Do what both libraries do; all of it must succeed."""
    storage.set_up()
    for key in ("photos/a b.jpg", "photos//ä.jpg"):
        storage.put(key, b"x", "image/jpeg")
        assert storage.get(key).data == b"x"
        assert storage.exists(key)
    assert len(list(storage.keys("photos/"))) == 2
    storage.delete(["photos/a b.jpg", "photos//ä.jpg"])
    assert list(storage.keys("photos/")) == []


@pytest.mark.parametrize(
    ("style", "host", "path"),
    [
        ("virtual", f"http://photos-one.{DOMAIN}/", ""),
        ("path", f"http://{DOMAIN}/", "photos-one"),
        ("auto", f"http://{DOMAIN}/", "photos-one"),
    ],
)
def test_requests_name_the_bucket_where_the_setting_says(asked, style, host, path):
    storage = Storage(
        Settings(
            redis_url="",
            bucket="photos-one",
            s3_endpoint=f"http://{DOMAIN}",
            s3_addressing=style,
        )
    )
    use(storage)
    assert f"{host}{path}" in storage.presign("a", 60)
    storage.close()
    assert asked
    assert [url for url in asked if not url.startswith(f"{host}{path}")] == []


def test_a_bucket_that_is_no_part_of_a_hosts_name_stays_in_the_path(asked):
    settings = Settings(
        redis_url="", bucket="photos.one", s3_endpoint=f"http://{DOMAIN}", s3_addressing="virtual"
    )
    storage = Storage(settings)
    storage.set_up()
    storage.put("a", b"x", "")
    assert storage.get("a").data == b"x"
    storage.close()
    assert f"http://{DOMAIN}/photos.one/a" in asked


@pytest.mark.parametrize("host", ["127.0.0.1:8333", "[::1]:8333"])
def test_no_bucket_stands_before_an_address(host):
    with pytest.raises(ConfigurationError, match=r"S3_ADDRESSING=virtual.*which is an address"):
        Settings(redis_url="", s3_endpoint=f"http://{host}", s3_addressing="virtual")
    Settings(redis_url="", s3_endpoint=f"http://{host}", s3_addressing="path")
