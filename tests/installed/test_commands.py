"""The wheel in clean environments of each Python that is here: each command, and a small round.

`python -m release` has built it and made the environments; nothing here comes from this tree but
the model and the photographs.
"""

import json
import os
import signal
import subprocess
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from release import installed, sources, versions

from helpers.documents import ROOT
from helpers.samples import write_card, write_photos

pytestmark = pytest.mark.dist

MINORS = list(installed.pythons())
KINDS = [(minor, kind) for minor in MINORS for kind in installed.KINDS]
WALK = """
import json
import click
from camfleet.cli import group

def walk(command, words):
    yield words
    if isinstance(command, click.Group):
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), [*words, name])

print(json.dumps(list(walk(group, []))))
"""
HEAVY = """
import sys
from camfleet import AsyncClient, Client
from camfleet.cli import main
from importlib.util import find_spec
print(*(name for name in ("tensorflow", "keras", "cv2", "jinja2", "numpy") if find_spec(name)))
"""


def environ(**more):
    """Return an environment without settings, and without this tree on the path."""
    dropped = ("CAMFLEET_", "AWS_", "PYTHON", "VIRTUAL_ENV", "PIP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, **more}


def ran(minor, kind, *words, where, env=None):
    """Run a program of an environment in another folder; return what it writes to stdout."""
    folder = installed.environment(minor, kind).parent
    done = subprocess.run(
        [folder / words[0], *map(str, words[1:])],
        env=env or environ(),
        cwd=where,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("minor", "kind"), KINDS)
def test_what_is_installed_is_whole_and_of_this_version(minor, kind, tmp_path):
    python = installed.environment(minor, kind)
    pip = [installed.pythons()[minor], "-m", "pip", "--python", python, "check"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env=environ())
    assert done.returncode == 0, done.stdout
    code = "import camfleet; print(camfleet.__version__, camfleet.__file__)"
    version, file = ran(minor, kind, "python", "-c", code, where=tmp_path).split()
    assert version == versions.version()
    assert Path(file).parent == python.parents[1] / f"lib/python{minor}/site-packages/camfleet"


@pytest.mark.parametrize(("minor", "kind"), KINDS)
def test_each_command_has_a_help_that_names_it(minor, kind, tmp_path):
    commands = json.loads(ran(minor, kind, "python", "-c", WALK, where=tmp_path))
    assert len(commands) > 40
    assert ["models", "add"] in commands

    def help_of(words):
        return ran(minor, kind, "camfleet", *words, "--help", where=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        for words, text in zip(commands, pool.map(help_of, commands), strict=True):
            assert text.startswith(" ".join(["Usage: camfleet", *words])), words


@pytest.mark.parametrize("minor", MINORS)
def test_the_producer_alone_needs_no_heavy_library(minor, tmp_path):
    assert ran(minor, "bare", "python", "-c", HEAVY, where=tmp_path).split() == []
    assert ran(minor, "all", "python", "-c", HEAVY, where=tmp_path).split() != []


@pytest.fixture(scope="module", params=MINORS)
def minor(request):
    return request.param


@pytest.fixture(scope="module")
def folder():
    """Give a folder with a model's card and photographs, with a path that sockets can have."""
    with tempfile.TemporaryDirectory(prefix="dist-") as made:
        here = Path(made)
        write_card(here / "card", "patches")
        write_photos(here / "photos", 6)
        yield here


@pytest.fixture(scope="module")
def up(minor, folder):
    """Start the local stack of the installed wheel; give what `camfleet up --json` prints."""
    program = installed.environment(minor, "all").parent / "camfleet"
    data = folder / f"data-{minor}"
    with subprocess.Popen(
        [program, "up", "--json", "--data", data, "--allow", folder],
        env=environ(),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        line = running.stdout.readline()
        try:
            yield json.loads(line)
        finally:
            running.send_signal(signal.SIGINT)
            code = running.wait(60)
    assert code in {0, 130}


@pytest.fixture(scope="module", params=list(installed.KINDS))
def camfleet(request, minor, folder, up):
    """Run the installed command with the stack's environment: of the producer alone, and of all."""

    def run(*words):
        env = environ(**up["environment"])
        return ran(minor, request.param, "camfleet", *words, where=folder, env=env)

    run.kind = request.param
    return run


def test_a_model_is_added_explained_and_reported(minor, folder, camfleet):
    said = camfleet("models", "add", folder / "card" / "card.toml", "--timeout", "300")
    assert "patches" in said
    photo = folder / "photos" / "photo-00.png"
    assert "bright" in camfleet("explain", photo, "--model", "patches", "--timeout", "300")
    job = f"round-{minor.replace('.', '-')}-{camfleet.kind}"
    camfleet(
        "submit", folder / "photos", "--model", "patches", "--shape", "polygon", "--job-id", job
    )
    camfleet("watch", job)
    rows = [json.loads(line) for line in camfleet("results", job, "--json").splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 6
    camfleet("verify", job)
    camfleet("export", job, "--format", "coco", "--output", folder / f"{job}-coco")
    if camfleet.kind == "all":  # statistics and pages need the extra `report`
        camfleet("report", job, "--output", folder / f"{job}-report")
        page = (folder / f"{job}-report" / "index.html").read_text()
        assert "<html" in page
        assert job in page
        camfleet("gallery", job, "--output", folder / f"{job}-gallery")
        assert (folder / f"{job}-gallery" / "index.html").stat().st_size > 1000
    assert job in camfleet("jobs")


def test_the_gateway_of_the_wheel_serves_its_page(up):
    with urllib.request.urlopen(f"{up['gateway']}/", timeout=60) as answer:
        assert b"<html" in answer.read()


def test_dist_holds_the_archives_and_their_components():
    version = versions.version()
    names = {path.name for path in (ROOT / "dist").glob("camfleet-*")}
    wheel, sdist = f"camfleet-{version}-py3-none-any.whl", f"camfleet-{version}.tar.gz"
    assert names == {wheel, sdist, f"camfleet-{version}.cdx.json"}
    listed = json.loads((ROOT / "dist" / f"camfleet-{version}.cdx.json").read_text())
    assert listed["metadata"]["component"]["version"] == version
    by_name = {each["name"].lower(): each for each in listed["components"]}
    assert {"celery", "keras", "openvino", "valkey", "seaweedfs"} <= set(by_name)
    assert all(each["licenses"] and each["purl"] for each in by_name.values())
    assert str(sources.ROOT) not in json.dumps(listed)
