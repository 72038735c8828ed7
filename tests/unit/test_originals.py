"""Photographs as they were explained, read from the web and from this machine's files."""

import os

import pytest

from camfleet.errors import (
    AccessDenied,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.pictures import originals
from camfleet.settings import Settings
from camfleet.storage.clouds import Clouds
from camfleet_worker.sources.files import FileReader
from helpers.web_server import JPEG, LIMIT, serving


@pytest.fixture(scope="module")
def site():
    yield from serving()


def read(uri, etag=None, limit=LIMIT):
    clouds = Clouds(Settings(redis_url=""), environ={})
    return originals.read({"image_uri": uri, "image_etag": etag}, None, clouds, limit)


def test_a_photograph_of_the_web_is_read(site):
    assert read(site.url("/jpeg")) == JPEG
    assert read(site.url("/jpeg/ä b?x=%20")) == JPEG
    assert read(site.url("/jpeg"), '"v1"') == JPEG


@pytest.mark.parametrize(
    ("uri", "variable"),
    [
        ("az://photos/a.jpg", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("gs://photos/a.jpg", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_a_photograph_of_another_cloud_takes_credentials_of_ones_own(uri, variable):
    with pytest.raises(AccessDenied, match=f"{uri}.*{variable}"):
        read(uri)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/status/404", SourceUnreachable),
        ("/status/500", SourceUnreachable),
        ("/announced/100", SourceUnreachable),
        ("/banner", SourceUnreachable),
        ("/endless", ImageTooLarge),
    ],
)
def test_a_photograph_that_the_web_does_not_give_is_named(site, path, error):
    with pytest.raises(error, match=path):
        read(site.url(path))


def test_only_what_begins_like_an_image_is_copied(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"password = 1")
    with pytest.raises(ImageUnreadable, match="begin like an image"):
        read(str(path))


def test_a_server_that_is_away_and_an_address_that_is_none_are_named():
    for uri in ("http://127.0.0.1:1/a", "http://", "https://[::1/x", "http://h:x/"):
        with pytest.raises(SourceUnreachable):
            read(uri)


def test_a_photograph_that_has_changed_is_not_given(site, tmp_path):
    with pytest.raises(ImageUnreadable, match="has changed since it was explained"):
        read(site.url("/jpeg"), '"v0"')
    path = tmp_path / "a.png"
    path.write_bytes(JPEG)
    _, etag = FileReader((tmp_path,)).read(str(path), LIMIT)
    assert read(str(path), etag) == read(path.as_uri(), etag) == JPEG
    os.utime(path, (1, 1))
    with pytest.raises(ImageUnreadable, match="has changed"):
        read(str(path), etag)


def test_what_is_no_file_of_this_machine_is_named(tmp_path):
    (tmp_path / "large").write_bytes(bytes(LIMIT + 1))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageTooLarge, match="CAMFLEET_MAX_IMAGE_BYTES"):
        read(str(tmp_path / "large"))
    with pytest.raises(ImageUnreadable, match="regular"):
        read(str(tmp_path / "pipe"))
    for name, error in (("folder", SourceForbidden), ("gone", ImageNotFound)):
        with pytest.raises(error, match="this machine"):
            read(str(tmp_path / name))
    with pytest.raises(SourceForbidden):
        read("a\0b")
