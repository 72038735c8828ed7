"""--upload sends images only, whatever a manifest or a link names."""

import os

import pytest

from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest
from camfleet.sources import uploads
from camfleet.sources.sources import items
from helpers.uploaded import PNG, Bucket, key_of

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----\ngeheim\n"


@pytest.fixture
def bucket():
    return Bucket()


def sent(bucket, paths):
    """Return the URIs of files as they're sent, and the warnings."""
    local = uploads.LocalUploads(bucket)
    found = local.of(Item(item_id=str(path), image_uri=str(path)) for path in paths)
    return [item.image_uri for item in found], local.warnings()


def test_what_a_manifest_or_a_link_names_is_sent_only_if_it_begins_like_an_image(bucket, tmp_path):
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "linked.png").symlink_to("../key")
    (tmp_path / "photos" / "a.png").write_bytes(PNG)
    manifest = tmp_path / "photos" / "list.csv"
    manifest.write_text("image_uri\n../key\na.png\n/proc/self/environ\n")
    listed = [item.image_uri for item in items(str(manifest), bucket)]
    found = [item.image_uri for item in items(str(tmp_path / "photos"), bucket)]
    uris, warnings = sent(bucket, [*listed, *found])
    assert bucket.objects == {key_of(PNG, ".png"): (PNG, None)}
    photo = f"s3://bucket/{key_of(PNG, '.png')}"
    paths = [str(tmp_path / "key"), "/proc/self/environ", str(tmp_path / "photos" / "linked.png")]
    assert uris == [paths[0], photo, paths[1], photo, paths[2]]
    assert warnings == (
        f"not sent, since they don't begin like images: 3 of the local files, such as {paths[0]}",
    )


@pytest.mark.parametrize(
    "start",
    [
        *(
            PNG,
            b"\xff\xd8\xff\xe0",
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"GIF89a",
            b"BM0000",
            b"II*\0",
            b"MM\0+",
        ),
        *(b"\0\0\0\x1cftypavif", b"\0\0\0\x18ftypheic", b"\0\0\0\x0cjP  \r\n", b"8BPS\0\1"),
    ],
)
def test_images_of_every_kind_are_sent_also_those_that_are_not_read(bucket, tmp_path, start):
    path = tmp_path / "image"
    path.write_bytes(start + b"rest")
    assert len(sent(bucket, [path])[0]) == len(bucket.objects) == 1


def test_uris_stay_as_they_are(bucket):
    assert sent(bucket, ["https://h/a.png", "file:///etc/passwd"]) == (
        ["https://h/a.png", "file:///etc/passwd"],
        (),
    )


@pytest.mark.parametrize("kind", ["pipe", "missing", "folder", "long"])
def test_what_is_no_file_is_refused_at_once(bucket, tmp_path, kind):
    path = tmp_path / ("x" * 300 if kind == "long" else "x.png")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InvalidRequest, match=r"no such file|is a folder|has so long a name"):
        sent(bucket, [path])


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "a" * 300 + ".csv"])
def test_a_name_too_long_for_a_file_is_refused(bucket, name):
    for take in (uploads.locate, uploads.upload, lambda name, bucket: list(items(name, bucket))):
        with pytest.raises(InvalidRequest, match=r"no file has so long a name|6000 characters"):
            take(name, bucket)


@pytest.mark.parametrize("suffix", [".p\x1b[2Jg", ".p g", ".p\u202eng", "." + "g" * 9, ".p\ng"])
def test_a_suffix_that_is_none_stays_out_of_the_key(bucket, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PNG)
    with path.open("rb") as file:
        assert uploads.upload(path, bucket) == f"s3://bucket/{key_of(PNG, '')}"
        assert uploads.upload(file, bucket) == f"s3://bucket/{key_of(PNG, '.png')}"
