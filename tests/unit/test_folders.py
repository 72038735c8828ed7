"""Folders, globs and prefixes: what they give, what they leave out, and that all is counted."""

import os
import socket

import pytest

from camfleet.contract.codec import encode_json
from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest
from camfleet.sources import folders, left_out
from camfleet.sources.left_out import LeftOutCounter
from camfleet.sources.sources import items, stream

FILES = (
    "a.jpg",
    "b.HEIC",
    "notes.txt",
    "README",
    ".hidden.jpg",
    "._a.jpg",
    ".git/objects/c.jpg",
    "deep/d.png",
    "deep/.thumbs/d.jpg",
    "deep/e.CR2",
    "deep/f.svg",
    "deep/g.pdf",
    "deep/er/h.jfif",
)
TAKEN = ["a.jpg", "deep/d.png", "deep/er/h.jfif"]
LEFT_OUT = {
    "hidden": 4,
    ".heic": 1,
    ".txt": 1,
    "no suffix": 1,
    ".cr2": 1,
    ".svg": 1,
    ".pdf": 1,
}


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def read(source, inside):
    """Return the names below `inside` that a source gives, and what it leaves out by kind."""
    counter = LeftOutCounter()
    found = [item.image_uri for item in items(str(source), None, left_out=counter)]
    names = [uri.removeprefix(f"{inside}/") for uri in found]
    return names, {kind.kind: kind.files for kind in counter.kinds()}


def test_every_file_of_a_folder_is_taken_or_counted(folder):
    names, counts = read(folder, folder)
    assert (names, counts) == (TAKEN, LEFT_OUT)
    assert len(names) + sum(counts.values()) == len(FILES)


def test_a_glob_for_all_files_gives_what_the_folder_gives(folder):
    assert read(folder / "**", folder) == (TAKEN, LEFT_OUT)
    assert read(folder / "**" / "*", folder) == (TAKEN, LEFT_OUT)
    assert read(f"{folder}/**/./**/*", folder) == (TAKEN, LEFT_OUT)


def test_what_is_left_out_is_named_with_reason_and_examples(folder):
    counter = LeftOutCounter()
    list(items(str(folder), None, left_out=counter))
    kinds = {kind.kind: kind for kind in counter.kinds()}
    assert "HEIC, which camfleet doesn't read: convert it to JPEG" in kinds[".heic"].why
    assert "camera raw" in kinds[".cr2"].why
    assert "without pixels" in kinds[".svg"].why
    assert "a document" in kinds[".pdf"].why
    assert kinds[".heic"].examples == (str(folder / "b.HEIC"),)
    assert len(kinds["hidden"].examples) == 3
    assert all(kind.why for kind in kinds.values())


@pytest.mark.parametrize(
    ("pattern", "names", "counts"),
    [
        ("*.jpg", ["a.jpg"], {"hidden": 2}),
        ("*", ["a.jpg"], {"hidden": 2, ".heic": 1, ".txt": 1, "no suffix": 1, "folder": 2}),
        (".*.jpg", ["._a.jpg", ".hidden.jpg"], {}),
        ("*/*.png", ["deep/d.png"], {}),
        ("deep/**/*.*", ["deep/d.png", "deep/er/h.jfif"], None),
        (".git/**/*.jpg", [".git/objects/c.jpg"], {}),
        ("[ab].*", ["a.jpg"], {".heic": 1}),
        ("d??p/*/h.jfif", ["deep/er/h.jfif"], {}),
        ("**/h.jfif", ["deep/er/h.jfif"], {}),
    ],
)
def test_a_glob_takes_images_and_counts_what_else_it_matches(folder, pattern, names, counts):
    found, left = read(folder / pattern, folder)
    assert found == names
    assert counts is None or left == counts


@pytest.mark.parametrize("source", ["", "**", "**/*", "*/*"])
def test_links_are_followed_and_keep_their_names_whichever_way_they_are_found(tmp_path, source):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"")
    inside = tmp_path / "photos" / "roses"
    inside.mkdir(parents=True)
    (inside / "file.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (inside / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "photos" / "z-link").symlink_to(tmp_path / "elsewhere")
    names, counts = read(tmp_path / "photos" / source, tmp_path / "photos")
    assert names == ["roses/file.jpg", "z-link/a.jpg"]
    assert counts == {"broken link": 1}


@pytest.mark.parametrize("source", ["", "**", "**/*.jpg"])
def test_links_in_a_circle_end(tmp_path, source):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "a.jpg").write_bytes(b"")
    (tmp_path / "deep" / "er" / "up").symlink_to(tmp_path)
    (tmp_path / "deep" / "er" / "self").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path / "deep" / "loop")
    names, counts = read(tmp_path / source, tmp_path)
    assert names == ["deep/a.jpg"]
    assert counts["link in a circle"] == 2


def test_a_single_link_keeps_its_name_too(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"")
    (tmp_path / "real" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "alias").symlink_to("real")
    assert read(tmp_path / "alias" / "b.jpg", tmp_path) == (["real/b.jpg"], {})


def test_pipes_and_sockets_are_no_images(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "b.jpg")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "c.jpg"))
        assert read(tmp_path, tmp_path) == (["a.jpg"], {"special file": 2})


@pytest.mark.parametrize("source", ["", "*.heic", "**"])
def test_nothing_but_other_files_is_refused_with_what_there_is(tmp_path, source):
    for name in ("a.heic", "b.heic"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidRequest, match=r"no images \(\.jpg, .*; left out: 2 \.heic files$"):
        read(tmp_path / source, tmp_path)


def test_a_folder_that_is_hidden_itself_was_asked_for(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.jpg").write_bytes(b"")
    assert read(tmp_path / ".cache", tmp_path) == ([".cache/a.jpg"], {})


def test_a_hidden_folder_that_is_closed_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / ".Trashes").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    real = os.scandir

    def refuse(path):
        if str(path).endswith(".Trashes"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the super-user may read all
    assert read(tmp_path, tmp_path) == (["a.jpg"], {"hidden": 1})


def test_signs_in_names_mean_nothing(tmp_path):
    place = tmp_path / "100% [new]" / "**"
    place.mkdir(parents=True)
    (place / "a*?.jpg").write_bytes(b"")
    (tmp_path / "100% [new]" / "none").mkdir()
    assert read(tmp_path / "100% [new]", place)[0] == ["a*?.jpg"]
    with pytest.raises(InvalidRequest, match=r"100% \[new\]/none: no images"):
        read(tmp_path / "100% [new]" / "none", place)


KEYS = ["in/", "in/a.jpg", "in/b.heic", "in/.git/c.jpg", "in/._a.jpg", "in/d/e.PNG", "in/d/"]


def test_a_prefix_follows_the_same_rule():
    counter = LeftOutCounter()
    assert list(folders.of_keys(KEYS, "in/", counter)) == ["in/a.jpg", "in/d/e.PNG"]
    assert {kind.kind: kind.files for kind in counter.kinds()} == {"hidden": 2, ".heic": 1}


def test_what_several_sources_leave_out_is_counted_together(folder):
    counter = LeftOutCounter()
    found = list(stream([str(folder), str(folder / "deep")], None, left_out=counter))
    assert len(found) == 5
    kinds = {kind.kind: kind for kind in counter.kinds()}
    assert (kinds["hidden"].files, kinds[".svg"].files) == (5, 2)
    assert len(kinds["hidden"].examples) == 3


def test_kinds_are_few_however_many_suffixes_there_are():
    counter = LeftOutCounter()
    for number in range(1000):
        counter.add_by_suffix(f"frame.{number:04d}")
    counter.add(left_out.HIDDEN, ".a")
    kinds = counter.kinds()
    assert len(kinds) == 52
    assert sum(kind.files for kind in kinds) == 1001
    assert (kinds[0].kind, kinds[0].files) == ("other", 950)


LATIN = b"caf\xe9"


def test_names_that_are_not_utf8_are_left_out_and_counted_and_the_others_taken(folder):
    (folder / os.fsdecode(LATIN + b".jpg")).write_bytes(b"")
    (folder / os.fsdecode(b"odd." + LATIN)).write_bytes(b"")
    (folder / os.fsdecode(b"." + LATIN)).write_bytes(b"")
    inner = folder / os.fsdecode(LATIN)
    inner.mkdir()
    (inner / "a.jpg").write_bytes(b"")
    wanted = {**LEFT_OUT, "hidden": 5, "name not UTF-8": 2, ".caf\\xe9": 1}
    for source in (folder, folder / "**" / "*"):
        assert read(source, folder) == (TAKEN, wanted)


def test_what_is_said_of_names_that_are_not_utf8_can_be_written(folder):
    (folder / os.fsdecode(LATIN + b".jpg")).write_bytes(b"")
    counter = LeftOutCounter()
    list(items(str(folder), None, left_out=counter))
    kinds = {kind.kind: kind for kind in counter.kinds()}
    assert kinds["name not UTF-8"].examples == (f"{folder}/caf\\xe9.jpg",)
    assert "rename it" in kinds["name not UTF-8"].why
    assert encode_json(kinds["name not UTF-8"])


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9", b"caf\xe9/*.jpg", b"caf\xe9/a.csv"])
def test_a_source_whose_own_name_is_not_utf8_is_refused_with_a_way_out(folder, name):
    (folder / os.fsdecode(LATIN + b".jpg")).write_bytes(b"")
    (folder / os.fsdecode(LATIN)).mkdir()
    with pytest.raises(InvalidRequest, match=r"caf\\xe9.*: its name isn't UTF-8: rename it"):
        list(items(f"{folder}/{os.fsdecode(name)}", None))


@pytest.mark.parametrize("name", ["a.jpg", "a.csv"])
def test_a_source_in_a_folder_that_is_not_utf8_is_refused_by_a_relative_path_too(
    folder, monkeypatch, name
):
    inner = folder / os.fsdecode(LATIN)
    inner.mkdir()
    (inner / name).write_text("image_uri\nb.jpg\n")
    monkeypatch.chdir(inner)
    with pytest.raises(InvalidRequest, match=r"caf\\xe9.*: its name isn't UTF-8: rename it"):
        list(items(name, None))


def test_an_item_that_is_not_utf8_is_refused(folder):
    item = Item(item_id="a", image_uri=os.fsdecode(LATIN))
    with pytest.raises(InvalidRequest, match=r"image_uri 'caf\\xe9' isn't UTF-8"):
        list(stream(item, None))
