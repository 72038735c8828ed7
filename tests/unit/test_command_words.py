"""What commands print about models, failures and results, without servers."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from camfleet.cli import group, model_report, output, progress
from camfleet.cli.left_out import say_left_out
from camfleet.contract.records import LeftOut
from camfleet.registry.registry import ModelVersion


def _layers(*paths):
    return [{"path": path, "grid": [4, 4], "channels": 2} for path in paths]


@pytest.mark.parametrize(
    ("layer", "paths", "text"),
    [
        ("b", "ab", "a [4, 4]"),
        ("a", "a", "none"),
        ("e,f", "abcdef", "a [4, 4], b [4, 4], c [4, 4], d [4, 4]"),
        ("f", "abcdef", "b [4, 4], c [4, 4], d [4, 4], e [4, 4] (the last 4 of 5)"),
    ],
)
def test_other_layers_are_the_others_and_how_many_there_are(layer, paths, text):
    assert model_report._other_layers({"layer": layer, "candidates": _layers(*paths)}) == text


@pytest.mark.parametrize(
    ("classes", "activation", "text"),
    [
        (3, "softmax", "3 classes, activation softmax; why"),
        (1, "given", "1 class, activation given; why"),
        (1, "none", "1 number, not a class, activation none; why"),
        (2, "none", "2 numbers, not classes, activation none; why"),
    ],
)
def test_outputs_that_are_no_classes_are_not_called_so(classes, activation, text):
    meant = {"reason": "why", "guessed": False}
    report = {"classes": classes, "activation": activation, "outputs": meant}
    assert model_report._outputs(report) == text


def test_the_list_marks_what_each_alias_names(monkeypatch):
    named = [
        ("1", {"former": ("old",)}),
        ("2", {"aliases": ("candidate", "champion")}),
        ("3", {"removing": True}),
    ]
    plain = {"aliases": (), "former": (), "removing": False, "digest": "d" * 64, "added_at": 10.0}
    found = [ModelVersion(id="net", version=version, **{**plain, **how}) for version, how in named]
    client = SimpleNamespace(models=SimpleNamespace(list=lambda: found))
    monkeypatch.setattr(output, "client", lambda: nullcontext(client))
    listed = json.loads(CliRunner().invoke(group, ["models", "list", "--json"]).output)
    assert [entry["aliases"] for entry in listed] == [[], ["candidate", "champion"], []]
    assert listed[0]["added"] == "1970-01-01T00:00:10Z"
    header, _, *lines = CliRunner().invoke(group, ["models", "list"]).output.splitlines()
    assert header.split() == ["id", "version", "aliases", "digest", "added"]
    assert "old (before it was replaced)" in lines[0]
    assert "candidate, champion" in lines[1]
    assert "(being removed)" in lines[2]


def test_a_message_for_several_failures_is_an_example(capsys):
    progress._print_failures(
        {"image_not_found": 9, "image_unreadable": 1},
        dict.fromkeys(("image_not_found", "image_unreadable"), "a.jpg is gone"),
    )
    first, second = capsys.readouterr().out.splitlines()
    assert first.split(maxsplit=1)[1] == "image_not_found: e.g. a.jpg is gone"
    assert second.split(maxsplit=1)[1] == "image_unreadable: a.jpg is gone"


def test_a_file_that_is_left_out_is_an_example(capsys):
    say_left_out([LeftOut(kind=".heic", files=3, why="not read", examples=("a.heic",))])
    assert capsys.readouterr().err.endswith("(not read), such as a.heic\n")


@pytest.mark.parametrize(
    ("done", "words"),
    [(4, "4 of 4 images are done, nothing is missing"), (3, "3 of 4 images are done, 1 queued")],
)
def test_resume_says_what_is_queued(monkeypatch, done, words):
    status = SimpleNamespace(done=done, total=4)
    job = SimpleNamespace(status=lambda: status, note=None)
    client = SimpleNamespace(resume=lambda _job_id, **_options: job)
    monkeypatch.setattr(output, "client", lambda: nullcontext(client))
    assert words in CliRunner().invoke(group, ["resume", "weekly"]).output
