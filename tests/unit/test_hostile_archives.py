"""Zip archives that say one thing and hold another, or more than they should."""

import io
import struct
import time
import tracemalloc
import zipfile

import pytest

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.model_file import opened, read_origin
from helpers.hostile_models import CONFIG, METADATA, WEIGHTS, members, write

MEGABYTE = 2**20
SENT, END, CENTRAL = b"PK\3\4", b"PK\5\6", b"PK\1\2"


def opens(path):
    with opened(path):
        pass


def archive(path, files, *, method=zipfile.ZIP_STORED, infos=()):
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
        for info, data in infos:
            made.writestr(info, data)
    return path


def test_an_honest_archive_is_opened_whatever_zipped_it(tmp_path):
    opens(archive(tmp_path / "stored.keras", members()))
    opens(archive(tmp_path / "deflated.keras", members(), method=zipfile.ZIP_DEFLATED))
    more = members() | {"__MACOSX/._config.json": b"x", "assets/": b"", "README.md": b"hello"}
    opens(archive(tmp_path / "more.keras", more))
    streamed = io.BytesIO()
    with zipfile.ZipFile(Unseekable(streamed), "w") as made:  # with sizes after the data
        for name, data in members().items():
            made.writestr(name, data)
    (tmp_path / "streamed.keras").write_bytes(streamed.getvalue())
    opens(tmp_path / "streamed.keras")


class Unseekable:
    """A stream to which zipfile writes as it does to a pipe."""

    def __init__(self, target):
        self.write, self.flush = target.write, target.flush


def info(name, *, mode=0, encrypted=False):
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.flag_bits |= int(encrypted)
    return made


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "leads elsewhere"),
        ("/etc/evil", "leads elsewhere"),
        ("assets/../../evil", "leads elsewhere"),
        ("assets\\..\\evil", "leads elsewhere"),
        ("C:\\evil", "leads elsewhere"),
        ("assets//evil", "leads elsewhere"),
        ("./config.json", "leads elsewhere"),
        ("CONFIG.JSON", "two members"),
    ],
)
def test_a_members_name_that_leads_elsewhere_is_refused(tmp_path, name, words):
    path = archive(tmp_path / "net.keras", members() | {name: b"x"})
    with pytest.raises(UnsupportedModelFile, match=words):
        opens(path)
    assert [found.name for found in tmp_path.iterdir()] == ["net.keras"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "net.keras", members(), infos=[(info(CONFIG), b"{}")])
    with pytest.raises(UnsupportedModelFile, match=r"two members of the name 'config\.json'"):
        opens(path)


@pytest.mark.parametrize(
    ("found", "words"),
    [(info("link", mode=0o120777), "a link"), (info("pipe", mode=0o010666), "a link")],
)
def test_links_and_devices_are_refused(tmp_path, found, words):
    path = archive(tmp_path / "net.keras", members(), infos=[(found, b"/etc/passwd")])
    with pytest.raises(UnsupportedModelFile, match=words):
        opens(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    path = archive(tmp_path / "net.keras", members(), method=method)
    with pytest.raises(UnsupportedModelFile, match="another way than deflate"):
        opens(path)


def changed(path, edit):
    """Change the bytes of an honest archive."""
    data = bytearray(archive(path, members()).read_bytes())
    result = edit(data)
    path.write_bytes(data if result is None else result)
    return path


def encrypt(data):
    at = data.index(CENTRAL)
    data[at + 8] |= 1


def prefix(data):
    return b"#!/bin/sh\n" + data


def suffix(data):
    return data + b"more"


def comment(data):
    data[-2:] = struct.pack("<H", 4)
    return data + b"PK\5\6"


def count(data):
    at = data.rindex(END)
    data[at + 8 : at + 12] = struct.pack("<2H", 1, 1)


def many(data):
    at = data.rindex(END)
    data[at + 8 : at + 12] = struct.pack("<2H", 65_000, 65_000)


def zip64(data):
    at = data.rindex(END)
    data[at + 8 : at + 12] = struct.pack("<2H", 0xFFFF, 0xFFFF)


def same_place(data):
    first = data.index(CENTRAL)
    second = data.index(CENTRAL, first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]


def too_long(data):
    at = data.index(CENTRAL)
    data[at + 20 : at + 28] = struct.pack("<2L", 2**31, 2**31)


def other_name(data):
    at = data.index(b"config.json")
    data[at : at + 6] = b"Config"


def wrong_sum(data):
    at = data.index(b'"class_name"')
    data[at + 1] ^= 1


def cut(data):
    return data[: len(data) // 2]


def nothing(data):
    return b""


@pytest.mark.parametrize(
    "edit",
    [
        *(encrypt, prefix, suffix, comment, count, many, zip64, same_place, too_long),
        *(other_name, wrong_sum, cut, nothing),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(tmp_path, edit):
    with pytest.raises(UnsupportedModelFile, match=r"net\.keras is not a model file of Keras"):
        opens(changed(tmp_path / "net.keras", edit))


def test_an_archive_in_an_archive_is_no_model(tmp_path):
    inner = write(tmp_path / "inner.keras").read_bytes()
    path = archive(tmp_path / "net.keras", {"net.keras": inner})
    with pytest.raises(UnsupportedModelFile, match=r"has no metadata\.json"):
        opens(path)
    path = write(tmp_path / "net.keras", changes={WEIGHTS: inner})
    with pytest.raises(UnsupportedModelFile):
        opens(path)


def test_many_members_are_refused(tmp_path):
    files = members() | {f"assets/{number}": b"" for number in range(1_100)}
    with pytest.raises(UnsupportedModelFile, match=r"1,10\d members"):
        opens(archive(tmp_path / "net.keras", files))


@pytest.mark.parametrize(
    ("name", "size"),
    [(CONFIG, 64 * MEGABYTE), (METADATA, 64 * MEGABYTE), (WEIGHTS, 600 * MEGABYTE)],
)
def test_a_member_that_would_be_large_is_refused_without_memory_or_time(tmp_path, name, size):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for other, data in members().items():
            if other != name:
                made.writestr(other, data)
        with made.open(name, "w") as member:
            for _ in range(size // MEGABYTE):
                member.write(bytes(MEGABYTE))
    tracemalloc.start()
    try:
        start = time.monotonic()
        with pytest.raises(UnsupportedModelFile, match=rf"{name} would be {size:,} bytes"):
            opens(path)
        assert time.monotonic() - start < 2
        assert tracemalloc.get_traced_memory()[1] < 8 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_member_that_holds_more_than_it_declares_is_refused(tmp_path):
    def lie(data):
        at = data.index(CENTRAL, data.index(CENTRAL) + 4)  # the configuration's
        data[at + 24 : at + 28] = struct.pack("<L", 100)

    path = tmp_path / "net.keras"
    archive(path, members(), method=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    lie(data)
    path.write_bytes(data)
    with pytest.raises(UnsupportedModelFile, match="not a model file"):
        opens(path)


@pytest.mark.parametrize("text", [b"[]", b"7", b'"3.0"', b"null", b'{"keras_version": 7}'])
def test_the_origin_is_told_or_the_file_refused_whatever_the_metadata_hold(tmp_path, text):
    path = write(tmp_path / "net.keras", changes={METADATA: text})
    try:
        origin = read_origin(path)
    except UnsupportedModelFile:
        return
    assert origin == {"format": "Keras v3 archive", "keras_version": "7"}
