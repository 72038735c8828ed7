"""Fetcher: which URIs go where, and which files a worker may read."""

import errno
import os
import socket
from pathlib import Path

import pytest

from camfleet.errors import (
    CamfleetError,
    ImageNotFound,
    ImageTooLarge,
    ImageUnreadable,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet.settings import Settings
from camfleet_worker.sources.fetch import Fetched, Fetcher
from camfleet_worker.sources.files import FileReader, open_below, reason
from camfleet_worker.sources.web import WebReader
from camfleet_worker.web.client import WebClient

LIMIT = 10


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder that workers may read, next to one that they may not."""
    for name in ("photos", "secrets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"0123456789")
    return tmp_path / "photos"


class Objects:
    """An object store that returns what it's asked."""

    def read(self, uri: str, limit: int) -> tuple[bytes, str | None]:
        return f"{uri} {limit}".encode(), "etag"


def fetcher(*roots: Path) -> Fetcher:
    web = WebReader(WebClient(Settings()))
    files = FileReader(roots)
    return Fetcher(objects=Objects(), clouds=Objects(), web=web, files=files, max_bytes=LIMIT)


def test_objects_are_read_by_the_reader_for_them() -> None:
    assert fetcher().fetch("s3://bucket/a b%20.jpg") == Fetched(
        b"s3://bucket/a b%20.jpg 10", "etag"
    )


@pytest.mark.parametrize("uri", ["az://photos/a b.jpg", "gs://photos/a.jpg", "GS://photos/a.jpg"])
def test_other_clouds_are_read_by_the_reader_for_them(uri: str) -> None:
    assert fetcher().fetch(uri).data == f"{uri} 10".encode()


def test_web_pages_are_read_by_the_reader_for_them() -> None:
    for url in ("http://127.0.0.1/a.jpg", "HTTPS://127.0.0.1/a.jpg"):
        with pytest.raises(SourceForbidden, match=r"127\.0\.0\.1 is not a public address"):
            fetcher().fetch(url)


@pytest.mark.parametrize(
    "uri", ["ftp://host/a.jpg", "data:image/png;base64,AA", "gcs://b/k", "C:\\a"]
)
def test_another_scheme_is_refused_with_those_accepted(uri: str) -> None:
    with pytest.raises(SourceForbidden, match=r"s3://, az://, gs://, http.*, file:// and"):
        fetcher().fetch(uri)


@pytest.mark.parametrize("uri", ["a.jpg", "./photos/a.jpg", "../a.jpg", "~/a.jpg", ""])
def test_a_relative_path_means_nothing_to_a_worker(uri: str) -> None:
    with pytest.raises(SourceForbidden, match=r"is a relative path; a worker reads .* absolute"):
        fetcher().fetch(uri)


@pytest.mark.parametrize(
    "form", ["{}", "file://{}", "file://localhost{}", "file://LOCALHOST{}", "file:{}", "FILE://{}"]
)
def test_a_file_in_an_open_folder_is_read(form: str, photos: Path) -> None:
    fetched = fetcher(photos).fetch(form.format(photos / "a.jpg"))
    assert fetched.data == b"0123456789"


def test_a_file_uri_is_percent_decoded_and_a_path_is_not(photos: Path) -> None:
    (photos / "a b#1?.jpg").write_bytes(b"spaced")
    (photos / "a%20b.jpg").write_bytes(b"percent")
    (photos / os.fsdecode(b"\xff.jpg")).write_bytes(b"latin")
    files = fetcher(photos)
    assert files.fetch(f"file://{photos}/a%20b%231%3F.jpg").data == b"spaced"
    assert files.fetch(f"file://{photos}/a b#1?.jpg").data == b"spaced"
    assert files.fetch(f"{photos}/a%20b.jpg").data == b"percent"
    assert files.fetch(f"file://{photos}/%FF.jpg").data == b"latin"


def test_the_etag_changes_with_the_file(photos: Path) -> None:
    file, files = photos / "a.jpg", fetcher(photos)
    first = files.fetch(str(file)).etag
    assert first == files.fetch(str(file)).etag
    os.utime(file, ns=(0, 1))
    assert files.fetch(str(file)).etag == 'W/"a-1"'
    assert first != 'W/"a-1"'


@pytest.mark.parametrize(
    "path",
    ["secrets/a.jpg", "secrets/none.jpg", "photos/../secrets/a.jpg", "photos-2/a.jpg", "photos/.."],
)
def test_a_file_outside_is_refused_whether_it_is_there_or_not(path: str, photos: Path) -> None:
    uri = f"{photos.parent}/{path}"
    with pytest.raises(SourceForbidden) as caught:
        fetcher(photos).fetch(uri)
    assert str(caught.value) == (
        f"{uri} is not in a folder that workers read from ({photos}): add one to "
        "CAMFLEET_FILE_ROOTS, or to `camfleet up` with --allow DIR"
    )


def test_percent_encoding_does_not_hide_the_way_out(photos: Path) -> None:
    with pytest.raises(SourceForbidden):
        fetcher(photos).fetch(f"file://{photos}/%2E%2E/secrets/a.jpg")


def test_no_file_is_open_by_default(photos: Path) -> None:
    with pytest.raises(SourceForbidden, match=r"\(none\)"):
        fetcher().fetch(str(photos / "a.jpg"))


def test_links_are_followed_to_where_they_lead(photos: Path) -> None:
    secrets = photos.parent / "secrets"
    (photos / "inside.jpg").symlink_to(photos / "a.jpg")
    (photos / "outside.jpg").symlink_to(secrets / "a.jpg")
    (photos / "nowhere.jpg").symlink_to(secrets / "none.jpg")
    (photos / "folder").symlink_to(secrets)
    (photos / "round.jpg").symlink_to(photos / "round.jpg")
    (photos.parent / "alias").symlink_to(photos)
    files = fetcher(photos)
    assert files.fetch(f"{photos}/inside.jpg").data == b"0123456789"
    assert files.fetch(f"{photos.parent}/alias/a.jpg").data == b"0123456789"
    assert fetcher(photos.parent / "alias").fetch(f"{photos}/a.jpg").data == b"0123456789"
    for name in ("outside.jpg", "nowhere.jpg", "folder/a.jpg", "folder/none.jpg"):
        with pytest.raises(SourceForbidden, match="is not in a folder"):
            files.fetch(f"{photos}/{name}")
    with pytest.raises(ImageUnreadable):
        files.fetch(f"{photos}/round.jpg")


def test_the_opening_follows_no_link_that_appears_after_the_look(photos: Path) -> None:
    (photos / "link.jpg").symlink_to(photos / "a.jpg")
    (photos / "folder").symlink_to(photos)
    os.close(open_below(str(photos), "a.jpg"))
    for inner in ("link.jpg", "folder/a.jpg"):
        with pytest.raises(OSError, match=f"(?i)symbolic|directory.*{inner.split('/')[0]}"):
            open_below(str(photos), inner)


def test_what_is_no_regular_file_is_refused_without_waiting(photos: Path) -> None:
    os.mkfifo(photos / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(photos / "socket"))
    (photos / "folder").mkdir()
    for name in ("pipe", "socket", "folder", "", "."):
        with pytest.raises(ImageUnreadable, match="is not a regular file"):
            fetcher(photos).fetch(f"{photos}/{name}")
    listener.close()
    with pytest.raises(ImageUnreadable, match="is not a regular file"):
        fetcher(Path("/dev")).fetch("/dev/zero")


@pytest.mark.parametrize("name", ["none.jpg", "none/a.jpg", "a.jpg/b.jpg", "x" * 300, "a\0b.jpg"])
def test_a_missing_file_is_not_found(name: str, photos: Path) -> None:
    with pytest.raises(ImageNotFound):
        fetcher(photos).fetch(f"{photos}/{name}")


def test_more_than_the_limit_is_refused(photos: Path) -> None:
    (photos / "b.jpg").write_bytes(b"01234567890")
    expected = r"b\.jpg has 11 bytes, the limit is 10 \(CAMFLEET_MAX_IMAGE_BYTES\)"
    with pytest.raises(ImageTooLarge, match=expected):
        fetcher(photos).fetch(f"{photos}/b.jpg")
    with pytest.raises(ImageTooLarge):
        fetcher(Path("/proc")).fetch("/proc/self/status")  # says it's empty


@pytest.mark.parametrize("uri", ["file://host/a.jpg", "file:a.jpg", "file://", "file://."])
def test_a_file_uri_is_absolute_and_on_the_worker(uri: str) -> None:
    with pytest.raises(SourceForbidden, match="file:///absolute/path"):
        fetcher(Path("/")).fetch(uri)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, ImageNotFound),
        (errno.EACCES, SourceForbidden),
        (errno.EIO, SourceUnreachable),
        (errno.ESTALE, SourceUnreachable),
        (errno.EMFILE, SourceUnreachable),
    ],
)
def test_what_the_system_refuses_is_named(number: int, kind: type[CamfleetError]) -> None:
    error = reason("/photos/a.jpg", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert "/photos/a.jpg" in error.message
