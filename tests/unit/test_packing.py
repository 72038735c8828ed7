"""Archives of many files: whole, with flat memory, and never more than there is room for."""

import tracemalloc
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.errors import InvalidRequest
from camfleet.exports import packing
from camfleet.exports.portable import OtherSystems
from camfleet.jobstore.picture_names import of_picture
from camfleet.whole import whole_folder


def test_a_folder_becomes_an_archive_of_its_files_and_is_emptied(tmp_path):
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "ü &b.xml").write_bytes(b"x" * 3_000_000)
    (folder / "empty.txt").write_bytes(b"")
    steps = []
    packing.pack(folder, tmp_path / "made.zip", lambda: steps.append(1))
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["a/b/ü &b.xml", "empty.txt"]
        assert archive.read("a/b/ü &b.xml") == b"x" * 3_000_000
    assert (tmp_path / "made.zip").stat().st_size < 30_000
    assert len(steps) == 5  # whoever must stop is asked within a file, too
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_memory_stays_flat_however_large_a_file_is(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with (folder / "large.json").open("wb") as file:
        file.truncate(200 * 2**20)
    tracemalloc.start()
    try:
        packing.pack(folder, tmp_path / "made.zip", lambda: None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * 2**20


def test_more_files_than_memory_has_room_for_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_FILES", 3)
    with packing.open_archive(tmp_path / "made.zip") as archive:
        for number in range(3):
            archive.add(f"{number}.jpg", b"x")
        with pytest.raises(InvalidRequest, match=r"at most 3 files.*camfleet get"):
            archive.add("3.jpg", b"x")


def disk_with(monkeypatch, *free):
    """Let a disk have so many MiB free, one after the other, then always the last."""
    left = list(free)

    def usage(_folder):
        return SimpleNamespace(free=(left.pop(0) if left[1:] else left[0]) * 2**20)

    monkeypatch.setattr(packing.shutil, "disk_usage", usage)


@pytest.mark.parametrize(
    ("before", "free", "there"),
    [
        (40, 39, True),  # a tiny export
        (40, 10, False),
        (400, 300, True),
        (400, 190, False),  # 210 MiB are written: packing may take as much
        (100_000, 1100, True),
        (100_000, 1000, False),
    ],
)
def test_an_export_wants_as_much_room_as_it_may_still_take(
    tmp_path, monkeypatch, before, free, there
):
    disk_with(monkeypatch, before, free)
    room = packing.Room(tmp_path)
    with nullcontext() if there else pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"):
        room.refuse_full()


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path, monkeypatch):
    disk_with(monkeypatch, 60, 60, 60)
    with packing.open_archive(tmp_path / "made.zip") as archive:
        archive.add("a.jpg", b"x" * 2**20)
        with pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"):
            archive.add("b.jpg", b"x" * 50 * 2**20)


def test_a_disk_that_fills_up_is_named_as_the_reason():
    with (
        pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"),
        packing.open_archive(Path("/dev/full")) as archive,
    ):
        archive.add("a.jpg", b"x" * 2**20)


@pytest.mark.parametrize("error", [OSError(28, "full"), OSError(122, "quota")])
def test_an_export_into_a_disk_that_fills_up_names_it(tmp_path, error):
    def write():
        with packing.naming_full(), whole_folder(tmp_path / "out") as folder:
            (folder / "file").write_bytes(b"x")
            raise error

    with pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"):
        write()
    with pytest.raises(InvalidRequest, match="wrong"), packing.naming_full():
        raise InvalidRequest("wrong")


TWINS = [
    ("A.xml", "a.xml"),
    ("Photos/1.txt", "photos/1.txt"),
    ("caf\u00e9.txt", "cafe\u0301.txt"),
    ("STRASSE.txt", "stra\u00dfe.txt"),
    ("\u0130.txt", "i\u0307.txt"),
]


@pytest.mark.parametrize("names", TWINS)
def test_names_that_other_systems_take_for_one_stay_and_are_listed(tmp_path, names):
    folder = tmp_path / "folder"
    for number, name in enumerate((*names, "other.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"%d" % number)
    assert packing.pack(folder, tmp_path / "made.zip", lambda: None) == 1
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert {*archive.namelist()} == {*names, "other.txt", "names.txt"}
        assert [archive.read(name) for name in names] == [b"0", b"1"]
        (said,) = archive.read("names.txt").decode().splitlines()
    second = max(names)
    assert said == f"{second}: for Windows and macOS the same name as another one"


@pytest.mark.parametrize(
    "name",
    [
        *("con", "labels/AUX.txt", "nul/1.xml", "a/Com1.tar.gz", "lpt\u00b9.txt", "CONIN$"),
        *("a:b.xml", "what?.txt", "a*.txt", 'a".txt', "a|b", "a<b", "a.", "a./b.txt", "a /b.txt"),
    ],
)
def test_names_that_windows_lacks_are_told(name):
    assert OtherSystems().trouble(name) == "no name for Windows"


@pytest.mark.parametrize(
    "name", ["console.txt", "a/com.txt", "com10.txt", "auxiliary/nulls.xml", ".hidden", "a b.c.txt"]
)
def test_other_names_suit_all_systems(name):
    assert OtherSystems().trouble(name) is None


ODD = st.text(st.sampled_from("aAbß\u0130i\u0307é\u0301:. /con") | st.characters(), min_size=1)


@given(st.lists(ODD, unique=True, max_size=4))
def test_names_of_pictures_suit_all_systems(items):
    """Their marks tell apart what the readable part of a name doesn't."""
    systems = OtherSystems()
    for item in items:
        row = {
            "item_id": item, "image_uri": item, "target": "top", "rank": 0, "class_name": item,
            "model_id": "con",
        }  # fmt: skip
        assert systems.trouble(of_picture(row, item, ".png", with_model=True)) is None


@pytest.mark.parametrize("name", ["..\\..\\a.txt", "a\nb.txt", "a\x1b[2Jb.txt", "a\x7f.txt"])
def test_a_name_that_leads_elsewhere_on_other_systems_is_refused(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="--image"):
        packing.pack(folder, tmp_path / "made.zip", lambda: None)
