"""One image, however it's given, and what it's called in the bucket."""

import io
import os
from pathlib import Path

import pytest

from camfleet.errors import InvalidRequest
from camfleet.sources import uploads
from helpers.uploaded import PNG, Bucket, key_of


@pytest.fixture
def bucket():
    return Bucket()


@pytest.mark.parametrize("uri", ["s3://b/k.png", "https://host/a%20b.jpg?size=2", "file:///a.png"])
def test_a_uri_stays_as_it_is(bucket, uri):
    assert uploads.locate(uri, bucket) == uri
    assert bucket.objects == {}


def test_a_path_becomes_absolute_and_is_not_sent(bucket, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert uploads.locate("a.png", bucket) == str(tmp_path / "a.png")
    assert uploads.locate(Path("a.png"), bucket) == str(tmp_path / "a.png")
    assert bucket.objects == {}


@pytest.mark.parametrize(
    ("data", "suffix", "kind"),
    [
        (PNG, ".png", "image/png"),
        (b"\xff\xd8\xff\xe0", ".jpg", "image/jpeg"),
        (b"GIF89a", ".gif", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ".webp", "image/webp"),
        (b"BM0000", ".bmp", "image/bmp"),
        (b"II*\0", ".tif", "image/tiff"),
        (b"MM\0*", ".tif", "image/tiff"),
        (b"RIFF\x10\0\0\0WAVE", "", "application/octet-stream"),
        (b"something else", "", "application/octet-stream"),
    ],
)
def test_bytes_are_named_after_their_content(bucket, data, suffix, kind):
    for image in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert uploads.locate(image, bucket) == f"s3://bucket/{key_of(data, suffix)}"
    assert bucket.objects == {key_of(data, suffix): (data, kind)}


def test_a_file_keeps_the_suffix_of_its_name(bucket, tmp_path):
    path = tmp_path / "Photo.JPEG"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        assert uploads.upload(file, bucket) == f"s3://bucket/{key_of(PNG, '.jpeg')}"
    assert uploads.upload(path, bucket) == f"s3://bucket/{key_of(PNG, '.jpeg')}"
    assert uploads.upload(str(path), bucket) == f"s3://bucket/{key_of(PNG, '.jpeg')}"


def test_a_file_whose_name_is_a_number_is_named_after_its_content(bucket, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(PNG)
    with path.open("rb") as opened, open(opened.fileno(), "rb", closefd=False) as file:
        assert uploads.upload(file, bucket) == f"s3://bucket/{key_of(PNG, '.png')}"


def closed():
    file = io.BytesIO(PNG)
    file.close()
    return file


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", r"image has no bytes; a file that was read already: file.seek\(0\)"),
        ("", "image is empty: give a path"),
        (closed(), "image: the file can't be read: .*closed"),
        ("no/such.png", "no/such.png: no such file"),
    ],
)
def test_an_image_that_cannot_be_sent_is_named(bucket, image, message):
    with pytest.raises(InvalidRequest, match=message):
        uploads.upload(image, bucket)


class BytesPath:
    def __fspath__(self):
        return b"a.png"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (3, "image is of type int: give a path, a URI, bytes, or a file opened with 'rb'"),
        (["a.png"], "image is of type list"),
        (io.StringIO("text"), "opened as text: open it with 'rb'"),
        (BytesPath(), "image is a path of bytes"),
    ],
)
def test_what_is_no_image_is_named_with_the_way_out(bucket, image, message):
    for take in (uploads.locate, uploads.upload):
        with pytest.raises(TypeError, match=message):
            take(image, bucket)


@pytest.mark.parametrize("send", [uploads.locate, uploads.upload])
def test_a_path_that_is_not_utf8_is_refused_with_a_way_out(bucket, tmp_path, send):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(PNG)
    with pytest.raises(InvalidRequest, match=r"caf\\xe9\.jpg: its name isn't UTF-8: rename it"):
        send(path, bucket)


@pytest.mark.parametrize("send", [uploads.locate, uploads.upload])
def test_a_folder_is_no_image_and_submit_is_the_way_out(bucket, tmp_path, send):
    with pytest.raises(InvalidRequest, match="is a folder: submit it"):
        send(tmp_path, bucket)
