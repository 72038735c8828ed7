"""Small words of commands: numbers, seconds, and what is said first."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from camfleet.aio.answer import AsyncAnswer
from camfleet.cli import group, terminal
from camfleet.cli.submit import _teller
from camfleet.contract.records import LeftOut
from camfleet.errors import InvalidRequest, check_codes, check_timeout
from camfleet.interactive.answer import Answer
from camfleet.sources.left_out import words


def test_one_thing_is_no_plural():
    assert [terminal.count(number, "chunk") for number in (0, 1, 2)] == [
        "0 chunks",
        "1 chunk",
        "2 chunks",
    ]


@pytest.mark.parametrize(
    ("kind", "one", "several"),
    [
        (".heic", "1 .heic file", "4 .heic files"),
        ("no suffix", "1 file without a suffix", "4 files without a suffix"),
        ("folder", "1 folder", "4 folders"),
        ("hidden", "1 hidden file", "4 hidden files"),
        ("name not UTF-8", "1 file whose name isn't UTF-8", "4 files whose names aren't UTF-8"),
    ],
)
def test_what_is_left_out_is_counted_in_words(kind, one, several):
    made = [LeftOut(kind=kind, files=files, why="", examples=()) for files in (1, 4)]
    assert list(map(words, made)) == [one, several]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_to_wait_is_refused(seconds):
    with pytest.raises(InvalidRequest, match=r"timeout is .*: give a number of seconds above 0"):
        check_timeout(seconds)


def test_an_answer_is_waited_for_some_time():
    request = SimpleNamespace(image_uri="s3://b/a.jpg", model="lite0", target="top")
    with pytest.raises(InvalidRequest, match="timeout is 0"):
        Answer("id", None, request).result(0)
    with pytest.raises(InvalidRequest, match="timeout is -1"):
        asyncio.run(AsyncAnswer(Future(), None).result(-1))


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "a.jpg", "--model", "m"),
        ("watch", "job"),
        ("models", "add", "card.toml"),
        ("submit", "a.jpg", "--model", "m", "--dry-run"),
    ],
)
def test_no_command_takes_no_time(words):
    for seconds in ("0", "-1"):
        done = CliRunner().invoke(group, [*words, "--timeout", seconds])
        assert done.exit_code == 2
        assert "'--timeout'" in done.output


def test_an_unknown_code_names_those_that_rows_may_have():
    with pytest.raises(InvalidRequest, match=r"image_unreadable.*unknown_target") as caught:
        check_codes(["nope"])
    assert "unknown_job" not in str(caught.value)
    assert "broker_unavailable" not in str(caught.value)


@pytest.mark.parametrize("command", ["results", "retry", "get", "export"])
def test_a_code_that_no_error_has_is_wrong_usage(command):
    done = CliRunner().invoke(group, [command, "job", "--code", "image_notfound", "--json"])
    assert done.exit_code == 2
    assert '"code": "invalid_request"' in done.output
    assert "did you mean 'image_not_found'?" in done.output


def test_a_format_that_was_left_out_is_asked_for_in_one_line_without_tabs():
    done = CliRunner().invoke(group, ["export", "job", "--output", "folder"])
    assert done.exit_code == 2
    asked = "Missing option '--format'. Choose from: coco, coco-results, label-studio, voc, yolo"
    assert asked in done.output
    assert "\t" not in done.output


class Bar:
    n = 0

    def clear(self):
        pass

    def update(self, count):
        self.n += count


def test_the_id_of_a_job_is_said_once_some_of_it_is_written(capsys):
    bar = Bar()
    tell = _teller(bar, "weekly")
    assert capsys.readouterr().err == ""
    for count in (10, 25):
        tell(count)
    assert capsys.readouterr().err == "camfleet: submitting job weekly\n"
    assert bar.n == 25
