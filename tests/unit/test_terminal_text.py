"""Text that fits a terminal, and tables of it."""

import io
import sys

import pytest

from camfleet.cli import output, tables, terminal
from camfleet.cli.tables import table

URI = "s3://bucket/" + "folder/" * 40 + "photo-1.jpg"


class Terminal(io.StringIO):
    """A stream that says it's a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """Make stdout a terminal; gives a function that shows a table in some columns."""

    def show(columns, *args, **keywords):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", Terminal())
        table(*args, **keywords)
        return sys.stdout.getvalue().splitlines()

    return show


@pytest.mark.parametrize("room", [12, 20, 44, 80])
@pytest.mark.parametrize("text", [URI, "ein Satz, der lang ist " * 9, "写真" * 60 + "/" + "写" * 9])
def test_what_is_shortened_fits(text, room):
    short = terminal.shorten(text, room)
    assert room - 2 < terminal.columns(short) <= room
    assert "…" in short


def test_of_a_path_the_end_stays():
    assert terminal.shorten(URI, 30).endswith("photo-1.jpg")
    assert terminal.shorten("short", 30) == "short"


def test_signs_that_move_the_cursor_are_escaped():
    assert terminal.clean("a\x1b[2Jb\u202ec") == r"a\u001b[2Jb\u202ec"
    assert terminal.clean("one\ntwo\r\n three") == "one two three"
    assert terminal.clean("große Größe 写真") == "große Größe 写真"


def test_times_stay_whole_and_others_give_way(screen):
    made, ends = "2026-11-30 06:58:27Z", "2027-11-30 06:58:27Z"
    row = {"id": "4" * 16, "scopes": "explain jobs:read jobs:write", "made": made, "ends": ends}
    rows = [row, {**row, "ends": None}]
    lines = screen(80, rows, [*row], whole=["id"], optional=["made"])
    assert max(map(len, lines)) <= 80
    assert "…" in lines[2]
    assert lines[2].endswith(f"{made}  {ends}")
    narrow = screen(60, rows, [*row], whole=["id"], optional=["made"])
    assert narrow[2].endswith(f"…  {ends}")
    assert made not in "".join(narrow)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 4 * 3600, "3 d 04 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert terminal.duration(seconds) == text


def test_times_are_utc_in_iso_8601():
    assert terminal.moment(0) == "1970-01-01 00:00:00Z"
    assert terminal.iso(1.5) == "1970-01-01T00:00:01Z"
    assert terminal.moment(None) is None


ROWS = [
    {"name": "a" * 25, "image": URI, "count": 5, "share": 0.25, "note": "fine"},
    {"name": "b", "image": "/x.png", "count": 12345, "share": None, "note": ""},
]
COLUMNS = ("name", "image", "count", "share", "note")


@pytest.mark.parametrize("columns", [72, 80, 120, 200, 500])
def test_a_table_is_at_most_as_wide_as_the_terminal(screen, columns):
    lines = screen(columns, ROWS, COLUMNS, whole=("name",))
    assert max(map(len, lines)) <= columns
    assert len(lines) == 4
    assert "a" * 25 in lines[2]
    assert lines[3].split() == ["b", "/x.png", "12345", "-", "-"]


def test_optional_columns_are_left_out_the_last_first(screen):
    keywords = {"whole": ("name",), "optional": ("share", "note")}
    assert screen(63, ROWS, COLUMNS, **keywords)[0].split() == ["name", "image", "count", "share"]
    assert screen(55, ROWS, COLUMNS, **keywords)[0].split() == ["name", "image", "count"]


def test_a_row_that_does_not_fit_at_all_becomes_lines(screen):
    lines = screen(40, ROWS, COLUMNS, whole=("name",))
    assert [line.split()[0] for line in lines if line] == [*COLUMNS, *COLUMNS]
    assert max(map(len, lines)) <= 40


def test_wide_signs_count_twice(screen):
    rows = [{"name": "写真" * 40, "image": "a"}, {"name": "x", "image": "b"}]
    _, _, wide, plain = screen(40, rows, ("name", "image"))
    assert terminal.columns(wide[: wide.rindex("a")]) == plain.rindex("b")


def test_in_a_pipe_everything_is_whole(capsys):
    table(ROWS, COLUMNS)
    assert URI in capsys.readouterr().out


def test_numbers_are_to_the_right_of_their_column(capsys):
    table(
        [{"count": 5, "probability": 0.123456}, {"count": 123, "probability": 1.0}],
        ("count", "probability"),
    )
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert lines == ["    5       0.1235", "  123       1.0000"]


def test_an_empty_table_says_so_on_stderr(capsys):
    table([], COLUMNS, empty="no images yet")
    assert capsys.readouterr() == ("", "no images yet\n")


def test_a_cell_without_a_value_is_a_dash():
    assert [tables._cell("x", value) for value in (None, "", 0, 0.0, False)] == [
        *("-", "-", "0", "0", "False"),
    ]


def test_what_a_sentence_says_outlives_its_paths():
    text = f"/data/{'deep/' * 20}IMG_2.jpg is a HEIC file, which isn't read: convert it to JPEG"
    assert terminal.shorten_prose(text, 80).startswith("…/IMG_2.jpg is a HEIC file")
    short = terminal.shorten_prose(text, 30)
    assert short == "…/IMG_2.jpg is a HEIC file, w…"
    assert terminal.shorten_prose("all of /a/b", 20) == "all of /a/b"


def test_a_narrow_table_keeps_the_reason(screen):
    rows = [{"image_uri": URI, "error_message": f"{URI} is a HEIC file, which isn't read"}]
    *_, line = screen(100, rows, ("image_uri", "error_message"))
    assert "…/photo-1.jpg is a HEIC file" in line


def test_in_a_terminal_pictures_are_named_whole_below_the_table(monkeypatch, capsys):
    names = ("item_id", "image_uri", "model_id", "class_name", "probability", "layer", "status")
    more = ("heatmap_uri", "overlay_uri", "raw_uri", "error_code", "error_message")
    row = {**dict.fromkeys((*names, *more)), "image_uri": "a.png", "status": "ok"}
    rows = [{**row, "heatmap_uri": URI}, {**row, "overlay_uri": "s3://b/o.jpg"}, row]
    output.answers(rows)
    assert "heatmap" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.answers(rows)
    head, *_, first, second = sys.stdout.getvalue().splitlines()
    assert "heatmap" not in head
    assert (first, second) == (URI, "s3://b/o.jpg")
