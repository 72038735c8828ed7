"""What a card names lies below its own folder: anything else is refused before it's read."""

import os
import re
import socket

import pytest

from camfleet.errors import InvalidCard, UnsupportedModelFile
from camfleet.interactive.register import Models
from camfleet.registry import card_files
from camfleet.registry.cards import artifact_path, load_card, parse_card, read_golden, said_fields
from camfleet.registry.model_files import check_model_file

FIELDS = ("artifact", "labels", "golden.image")
SECRET = "geheim"


class NoStorage:
    """A bucket that nothing may touch."""

    def __getattr__(self, verb):
        pytest.fail(f"the bucket was asked to {verb}")


@pytest.fixture
def folder(tmp_path):
    """Make a folder of a card, with a secret outside of it, which it holds links to."""
    (tmp_path / "secret").write_text(SECRET)
    made = tmp_path / "card"
    made.mkdir()
    (made / "net.keras").write_bytes(b"weights")
    (made / "names.txt").write_text("cat\ndog\n")
    (made / "golden.png").write_bytes(b"picture")
    return made


def write(folder, **named):
    """Write a card that names files; `golden_image` and the others default to those there are."""
    files = {"artifact": "net.keras", "labels": "names.txt", "golden_image": "golden.png", **named}
    texts = {name: _toml(value) for name, value in files.items()}
    path = folder / "card.toml"
    path.write_text(
        f'id = "net"\nartifact = {texts["artifact"]}\nlabels = {texts["labels"]}\n'
        "[input]\nheight = 8\nwidth = 8\n"
        f'[golden]\nimage = {texts["golden_image"]}\nclass = "cat"\nprobability = 0.5\n'
    )
    return path


def _toml(text):
    import tomli_w

    return tomli_w.dumps({"x": text}).removeprefix("x = ").strip()


def add(path):
    return Models(NoStorage(), lambda _digest, _timeout: pytest.fail("a worker was asked")).add(
        path
    )


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/etc/passwd", "is an absolute path"),
        ("//etc/passwd", "is an absolute path"),
        ("/dev/zero", "is an absolute path"),
        ("/proc/self/environ", "is an absolute path"),
        ("../secret", "leads out of the card's folder"),
        ("inner/../../secret", "leads out of the card's folder"),
        ("names/..", "leads out of the card's folder"),
        ("~/.ssh/id_rsa", "begins with ~"),
        ("~root/secret", "begins with ~"),
        ("C:\\secret", "is a path of Windows"),
        ("C:secret", "is a path of Windows"),
        ("..\\secret", "is a path of Windows"),
        ("\\\\server\\share", "is a path of Windows"),
        ("a\0b", "has a control character"),
        ("a\x1b[2Jb", "has a control character"),
        ("", "is empty"),
        ("a" * 256, "is too long"),
        ("a/" * 600, "is too long"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_with_its_field_before_anything_is_read(
    folder, field, path, problem
):
    card = write(folder, **{field.replace(".", "_"): path})
    message = re.escape(f"card card.toml: {field} is ") + f".*{problem}: put the file beside"
    for refuse in (load_card, add):
        with pytest.raises(InvalidCard, match=message) as caught:
            refuse(card)
        assert len(str(caught.value)) < 300
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("way", ["file", "folder", "chain"])
def test_a_link_that_leads_out_is_refused(folder, field, way):
    name = {"artifact": "secret.keras"}.get(field, "secret")
    (folder.parent / "secret.keras").write_text(SECRET)
    if way == "file":
        (folder / name).symlink_to(folder.parent / name)
    elif way == "folder":
        (folder / "inner").symlink_to(folder.parent)
        name = f"inner/{name}"
    else:
        (folder / "next").symlink_to(f"../{name}")
        (folder / name).symlink_to("next")
    with pytest.raises(
        InvalidCard, match=f"{field} is '{name}', a link that leads out of the card"
    ):
        add(write(folder, **{field.replace(".", "_"): name}))


def test_links_within_the_folder_and_folders_in_it_are_followed(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "net.keras").write_bytes(b"inner")
    (folder / "linked.png").symlink_to("golden.png")
    (folder.parent / "elsewhere").symlink_to(folder)
    for place in (folder, folder.parent / "elsewhere"):
        path = write(place, artifact="inner/net.keras", golden_image="./linked.png")
        card = load_card(path)
        assert card.label_list == ("cat", "dog")
        assert artifact_path(card, place, "card.toml").read_bytes() == b"inner"
        assert read_golden(card, place, "card.toml") == b"picture"


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(folder, field, kind, monkeypatch):
    monkeypatch.chdir(folder)  # the path of a socket is short
    if kind == "pipe":
        os.mkfifo("odd.json")
    elif kind == "folder":
        (folder / "odd.json").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "socket":
            server.bind("odd.json")
        with pytest.raises((InvalidCard, UnsupportedModelFile), match=r"odd\.json"):
            add(write(folder, **{field.replace(".", "_"): "odd.json"}))


def test_a_card_that_is_a_pipe_is_refused_at_once(folder):
    os.mkfifo(folder / "card.toml")
    with pytest.raises(InvalidCard, match="it's not a regular file"):
        add(folder / "card.toml")


@pytest.mark.parametrize(
    ("name", "limit", "field"),
    [
        ("card.toml", "CARD_BYTES", "card"),
        ("names.txt", "LABELS_BYTES", "labels"),
        ("golden.png", "GOLDEN_BYTES", "golden.image"),
    ],
)
def test_what_is_read_has_a_bounded_size(folder, name, limit, field):
    path = write(folder)
    most = getattr(card_files, limit)
    os.truncate(folder / name, most + 1)  # a file of no blocks
    with pytest.raises(InvalidCard, match=f"{field} .*{name}.* has more than {most} bytes"):
        add(path)


def test_a_stored_card_leads_nowhere_either():
    text = 'id = "a"\nartifact = "../../model.keras"\n[input]\nheight = 8\nwidth = 8\n'
    with pytest.raises(InvalidCard, match="card stored: artifact is"):
        parse_card(text, "stored")


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "9" * 5000, 'id = "' + "x" * 10**6 + '"', "a." * 20_000],
)
def test_a_card_made_to_break_its_reader_is_an_error_of_few_words(text):
    with pytest.raises(InvalidCard, match="card card") as caught:
        parse_card(text, "card")
    assert len(str(caught.value)) < 300


def test_what_a_card_says_is_known_with_a_byte_order_mark_too(folder):
    path = write(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert "golden.image" in said_fields(path)


def test_the_description_of_a_tfjs_model_may_be_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(UnsupportedModelFile, match="architecture without weights"):
        check_model_file(tmp_path / "model.json")
