"""What the command line shows to be wrong by itself: exit code 2, and no server is asked."""

import json

import click
import pytest
from click.testing import CliRunner

from camfleet.audit.comparisons.verdict import Limits
from camfleet.cli import group, output
from camfleet.errors import InvalidRequest

PUSH = ["push", "label-studio", "JOB", "--project", "7"]
EXPORT = ["export", "JOB", "--output", "folder", "--format"]
FILTERED = [
    ["results", "JOB"],
    ["get", "JOB", "--output", "folder"],
    ["render", "JOB", "--output", "folder"],
    ["gallery", "JOB", "--output", "folder"],
    ["export", "JOB", "--format", "coco", "--output", "folder"],
    PUSH,
]
WRONG_FILTERS = [
    (["--class", "top:2"], "neither a class index nor a label"),
    (["--class", "not:3"], "neither a class index nor a label"),
    (["--class", ""], "target is empty"),
    (["--min-probability", "0.9", "--max-probability", "0.1"], "0.9 is more than"),
    (["--min-probability", "nan"], "nan"),
    (["--where", "=x"], "NAME=VALUE"),
    (["--where", "label"], "NAME=VALUE"),
    (["--rank", "99999999999"], "not in the range"),
    (["--code", "nonsense"], "nonsense"),
]
SUBMIT = ["submit", "a.jpg", "--model", "net"]
EXPLAIN = ["explain", "a.jpg", "--model", "net"]
REVIEW = ["review", "create", "nightly", "a.jpg", "--baseline", "net@1"]
RENDER = ["render", "JOB", "--output", "folder"]
WRONG = [
    (["compare", "JOB:MODEL"], "name the other side too"),
    ([*EXPLAIN, "--input", "=3"], "NAME=V"),
    (["compare", "", "JOB"], "no job id"),
    (["compare", "JOB", "a/b:MODEL"], "no job id"),
    (["compare", "JOB", "JOB", "--limit", "nan"], "nan"),
    (["compare", "JOB", "JOB", "--limit-flips", "2"], "not in the range"),
    (["compare", "JOB", "JOB", "--output", "s3://"], "s3://bucket/key"),
    (["compare", "JOB", "JOB", "--output", ""], "name a folder"),
    (["report", "a b"], "no job id"),
    (["push", "label-studio", "a b", "--project", "7"], "no job id"),
    (["report", "JOB", "--output", "s3:///x"], "s3://bucket/key"),
    (["report", "JOB", "--stored", "--output", "s3://camfleet/x"], "it's in a bucket now"),
    (["report", "JOB", "--stored", "--no-photographs"], "--no-photographs does nothing"),
    (["report", "JOB", "--stored", "--photographs"], "--photographs does nothing"),
    (["report", "JOB", "--stored", "--timeout", "60"], "--timeout does nothing"),
    (["report", "JOB", "--no-photographs", "--timeout", "9"], "--timeout is for photographs"),
    (["report", "JOB", "--timeout", "nan"], "nan"),
    (["report", "JOB", "--timeout", "inf"], "inf"),
    (["faithfulness", "JOB", "--sample", "10001"], "not in the range"),
    (["tokens", "create", "--owner", "a", "--most-bytes", "1.5G"], "such as 512M or 2G"),
    (["tokens", "create", "--owner", "a", "--most-bytes", "0G"], "not in the range"),
    (["get", "JOB", "--output", ""], "name a folder"),
    (["gallery", "JOB", "a/b", "--output", "folder"], "no job id"),
    ([*RENDER, "--picture", "shapes", "--threshold", "7"], "at most 1"),
    ([*RENDER, "--picture", "shapes", "--threshold", "nan"], "at most 1"),
    ([*RENDER, "--opacity", "nan"], "nan"),
    ([*RENDER, "--threshold", "0.5"], "--threshold does nothing: it's for shapes"),
    ([*RENDER, "--components", "all"], "--components does nothing"),
    ([*RENDER, "--picture", "heatmap", "--opacity", "0.7"], "--opacity does nothing"),
    ([*RENDER, "--picture", "heatmap", "--threshold", "otsu"], "--threshold does nothing"),
    ([*RENDER, "--picture", "heatmap", "--max-side", "0"], "give pixels"),
    ([*RENDER, "--picture", "shapes", "--colormap", "jet"], "--colormap does nothing"),
    ([*RENDER, "--picture", "shapes", "--opacity", "0.5"], "--opacity does nothing"),
    ([*EXPLAIN, "--save", " "], "name a folder"),
    ([*EXPLAIN, "--target", "above:2"], "between 0 and 1"),
    ([*EXPLAIN, "--shape", "box", "--threshold", "0"], "above 0"),
    ([*SUBMIT, "--target", "top:0"], "from 1 to 100"),
    ([*SUBMIT, "--layer", "a,a"], "several different ones"),
    ([*SUBMIT, "--job-id", "a/b"], "no job id"),
    ([*SUBMIT, "--faithfulness", "10001"], "not in the range"),
    ([*SUBMIT, "--report-to", "folder"], "s3://bucket/key"),
    ([*SUBMIT, "--pack", "--picture", "none"], "--pack is for pictures"),
    ([*SUBMIT, "--picture", "heatmap", "--opacity", "0.5"], "--opacity does nothing"),
    ([*SUBMIT, "--picture", "raw", "--picture", "heatmap", "--colormap", "jet"], "(raw and heat"),
    ([*SUBMIT, "--picture", "thumbnail", "--max-side", "512"], "--max-side does nothing"),
    ([*EXPLAIN, "--picture", "none", "--colormap", "turbo"], "among the pictures (none)"),
    ([*SUBMIT, "--layer", "last", "--fuse", "max"], "--fuse does nothing with one layer (last)"),
    ([*SUBMIT, "--timeout", "120"], "--timeout does nothing without --dry-run"),
    ([*SUBMIT, "--dry-run", "--watch"], "--watch does nothing with --dry-run, which makes no job"),
    ([*SUBMIT, "--dry-run", "--force"], "--force does nothing with --dry-run, which says"),
    ([*SUBMIT, "--dry-run", "--job-id", "a/b"], "no job id"),
    ([*EXPORT, "voc", "--per-file", "10000"], "--per-file does nothing in the format voc"),
    ([*EXPORT, "coco", "--heat"], "--heat does nothing in the format coco: it's for label-studio"),
    ([*EXPORT, "yolo", "--config", __file__], "--config does nothing in the format yolo"),
    ([*EXPORT, "coco", "--root", "/", "--prefix", "x"], "--prefix does nothing in the format coco"),
    ([*EXPORT, "fiftyone", "--prefix", "x"], "--prefix is for names below a --root"),
    ([*EXPORT, "fiftyone", "--root", "/"], "--root does nothing in the format fiftyone without"),
    ([*PUSH, "--root", "/"], "--root does nothing in the format label-studio without --prefix"),
    ([*PUSH, "--prefix", "x"], "--prefix is for names below a --root"),
    ([*EXPLAIN, "--picture", "none", "--presign", "60"], "--presign is for pictures"),
    ([*REVIEW, "--timezone", "UTC"], "--timezone does nothing without --every"),
    ([*REVIEW, "--layer", "last", "--fuse", "mean"], "--fuse does nothing with one layer"),
    ([*REVIEW, "--layer", "a,a"], "several different ones"),
    (["review", "run", "nightly", "--timeout", "9"], "--timeout does nothing without --wait"),
    (["results", "JOB", "--list-columns"], "leave out JOB"),
    (["results", "--list-columns", "--class", "cat"], "leave out --class"),
    (["results", "--list-columns", "--format", "csv"], "say --json"),
    (["results", "JOB", "--maps"], "--maps is for files"),
    (["results", "JOB", "--json", "--presign", "9", "--column", "rank"], "--column overlay_uri"),
    (["worker", "-l", "INFO"], "come after --: camfleet worker -- -l ..."),
    (["worker", "--processes", "2", "--concurrency=4"], "camfleet worker -- --concurrency ..."),
    (["serve", "--metrics-host", "127.0.0.1"], "--metrics-host does nothing"),
    (["models", "check", "card.toml", "--card", "card.toml"], "card.toml is a card itself"),
]


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    def client():
        raise AssertionError("a server was asked")

    monkeypatch.setattr(output, "client", client)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((command + words, said) for command in FILTERED for words, said in WRONG_FILTERS),
        *WRONG,
    ],
)
def test_wrong_usage_has_exit_code_2_and_says_what_is_wrong(words, said):
    done = CliRunner().invoke(group, words)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_job_is_named_in_one_way_by_all_commands():
    context = click.Context(group)
    found = [group.get_command(context, name) for name in group.list_commands(context)]
    for command in found:
        if isinstance(command, click.Group):
            found += [command.get_command(context, name) for name in command.list_commands(context)]
    jobs = [
        (command.name, param)
        for command in found
        for param in command.params
        if isinstance(param, click.Argument) and "JOB" in (param.metavar or "")
    ]
    assert len(jobs) > 15
    assert [name for name, param in jobs if param.type.name != "job"] == []


def test_in_json_wrong_usage_is_an_invalid_request():
    done = CliRunner().invoke(group, ["compare", "JOB:MODEL", "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("wrong", [float("nan"), -0.1])
@pytest.mark.parametrize("name", ["movement", "flips", "lost", "classes"])
def test_a_limit_that_is_none_is_refused(name, wrong):
    with pytest.raises(InvalidRequest, match=name):
        Limits(**{name: wrong})


def test_a_number_of_places_that_is_none_is_refused():
    for wrong in (-1, 0.5):
        with pytest.raises(InvalidRequest, match="limit places is"):
            Limits(places=wrong)
