"""Both Dockerfiles without an engine: what they copy is there, and what they install starts.

Their commands run in a virtual environment in the place of an image.
"""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from helpers.charts import ROOT

pytestmark = pytest.mark.charts

PATHS = ("producer/Dockerfile", "worker/Dockerfile")
IGNORED = (ROOT / ".dockerignore").read_text().split()
USER = "10001"


def instructions(path):
    """Return the words and arguments of a Dockerfile, whose lines may be continued."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / path).read_text()).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def of(path, wanted):
    return [words for name, words in instructions(path) if name == wanted]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Give a folder with what `.dockerignore` lets through to a build."""
    folder = tmp_path_factory.mktemp("context")
    first, *others = IGNORED
    assert first == "*", "all that isn't named stays outside"
    dropped = shutil.ignore_patterns(*(each.removeprefix("**/") for each in others))
    for name in (each.removeprefix("!") for each in others if each.startswith("!")):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=dropped)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_nothing_of_this_machine_comes_into_a_build(context):
    sources = {"producer", "worker", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert {path.name for path in context.iterdir()} == sources
    assert not list(context.rglob("__pycache__"))


@pytest.mark.parametrize("path", PATHS)
def test_what_is_copied_is_in_the_context(path, context):
    copied = of(path, "COPY")
    assert len(copied) >= 2
    for words in copied:
        *sources, target = words.split()
        assert [each for each in sources if not (context / each).exists()] == []
        assert target == "./" or [target] == sources


@pytest.mark.parametrize("path", PATHS)
def test_it_runs_as_a_user_by_number_who_is_made_before(path):
    (made,) = (words for words in of(path, "RUN") if words.startswith("useradd"))
    assert f"--uid {USER} " in made
    assert of(path, "USER") == [USER]
    order = [name for name, _ in instructions(path)]
    assert order.index("USER") > max(at for at, name in enumerate(order) if name in ("RUN", "COPY"))


@pytest.mark.parametrize("path", PATHS)
def test_what_is_installed_is_of_the_versions_that_were_tested(path):
    (installed,) = (words for words in of(path, "RUN") if "pip install" in words)
    assert "--constraint constraints.txt" in installed
    assert "--no-cache-dir" in installed


@pytest.mark.parametrize(
    ("extra", "words", "said"),
    [
        ("", (), "Usage: camfleet"),
        ("", ("setup", "--help"), "Usage: camfleet setup"),
        ("gateway", ("serve", "--help"), "Usage: camfleet serve"),
    ],
)
def test_the_producers_image_installs_and_its_commands_start(
    extra, words, said, context, tmp_path_factory
):
    made = built(extra, context, tmp_path_factory)
    (entry,), (usual,) = (map(json.loads, of(PATHS[0], name)) for name in ("ENTRYPOINT", "CMD"))
    done = run(made, *entry, *(words or usual))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)
    heavy = "from importlib.util import find_spec; print(*map(find_spec, ['tensorflow', 'cv2']))"
    assert run(made, "python", "-c", heavy).stdout.split() == ["None", "None"]
    web = run(made, "python", "-c", "import camfleet.gateway.app")
    assert (web.returncode == 0) == (extra == "gateway"), web.stderr


_built: dict[str, Path] = {}


def built(extra, context, tmp_path_factory):
    """Return a virtual environment with what the producer's image installs."""
    if extra not in _built:
        place = tmp_path_factory.mktemp("image")
        shutil.copytree(context, place / "camfleet")
        shutil.rmtree(place / "camfleet" / "worker")  # which that image doesn't copy
        venv.create(place / "venv", with_pip=True)
        (installed,) = (words for words in of(PATHS[0], "RUN") if "pip install" in words)
        done = run(place / "venv", "sh", "-euc", installed, cwd=place / "camfleet", EXTRA=extra)
        assert done.returncode == 0, done.stderr
        _built[extra] = place / "venv"
    return _built[extra]


def run(made, *words, cwd="/", **variables):
    path = f"{made / 'bin'}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HOME"))}
    return subprocess.run(
        words,
        cwd=cwd,
        env={**kept, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
