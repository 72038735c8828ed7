"""The Pythons of this machine, and a clean environment of each with the wheel in it."""

import shutil
import subprocess
import sys
from pathlib import Path

from release.sources import ROOT

MINORS = ("3.11", "3.12", "3.13")  # `requires-python` has no end; these are tried
EXTRAS = "worker,cpu,local,report,gateway"
KINDS = {"bare": "the producer alone", "all": f"with {EXTRAS}"}
FOLDER = ROOT / ".tools" / "installed"


def pythons() -> dict[str, Path]:
    """Return an interpreter for each minor version that is here: on PATH, or by pyenv."""
    found = {minor: next(filter(_runs, _candidates(minor)), None) for minor in MINORS}
    return {minor: path for minor, path in found.items() if path}


def _candidates(minor: str) -> list[Path]:
    named = shutil.which(f"python{minor}")
    versions = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{minor}.*/bin/python"))
    running = [Path(sys.executable)] if minor == "{}.{}".format(*sys.version_info) else []
    return [*running, *([Path(named)] if named else []), *reversed(versions)]


def _runs(python: Path) -> bool:
    """Return whether an interpreter runs: a shim of pyenv is there for versions that aren't."""
    done = subprocess.run([python, "-c", "import venv"], check=False, capture_output=True)
    return done.returncode == 0


def environment(minor: str, kind: str) -> Path:
    """Return the interpreter of an environment: `all` extras, or `bare` without any."""
    return FOLDER / f"{minor}-{kind}" / "bin" / "python"


def install(wheel: Path, minor: str, python: Path, kind: str) -> None:
    """Make the environment anew and install the wheel; pip itself stays outside."""
    made = environment(minor, kind)
    folder = made.parents[1]
    subprocess.run([python, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    what = f"{wheel}[{EXTRAS}]" if kind == "all" else str(wheel)
    pip = [sys.executable, "-m", "pip", "--python", str(made), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", what], check=True)
