"""Archives of many files: whole, with flat memory, and never more than there is room for."""

import tracemalloc
import zipfile
from pathlib import Path

import pytest

from camfleet.errors import InvalidRequest
from camfleet.exports import packing


def test_a_folder_becomes_an_archive_of_its_files_and_is_emptied(tmp_path):
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "ü <b>.xml").write_bytes(b"x" * 3_000_000)
    (folder / "empty.txt").write_bytes(b"")
    steps = []
    packing.pack(folder, tmp_path / "made.zip", lambda: steps.append(1))
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["a/b/ü <b>.xml", "empty.txt"]
        assert archive.read("a/b/ü <b>.xml") == b"x" * 3_000_000
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


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_LEAST_FREE", 2**62)
    with (
        pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"),
        packing.open_archive(tmp_path / "made.zip") as archive,
    ):
        archive.add("a.jpg", b"x")


def test_a_disk_that_fills_up_is_named_as_the_reason():
    with (
        pytest.raises(InvalidRequest, match=r"no room.*TMPDIR"),
        packing.open_archive(Path("/dev/full")) as archive,
    ):
        archive.add("a.jpg", b"x" * 2**20)


@pytest.mark.parametrize("name", ["..\\..\\a.txt", "a\nb.txt", "a\x1b[2Jb.txt", "a\x7f.txt"])
def test_a_name_that_leads_elsewhere_on_other_systems_is_refused(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="--image"):
        packing.pack(folder, tmp_path / "made.zip", lambda: None)
