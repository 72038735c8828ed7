"""The tree that a release is built from: the last commit, or the files that git would take."""

import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git(*arguments: str | Path, root: Path = ROOT) -> bytes:
    return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True).stdout


def committed(to: Path) -> None:
    """Write the files of the last commit into a folder, without what is changed here."""
    with tarfile.open(fileobj=BytesIO(git("archive", "HEAD"))) as archive:
        archive.extractall(to, filter="data")


def present(to: Path) -> None:
    """Write the files as they're here into a folder, without those that git ignores."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def environment() -> dict[str, str]:
    """Return this process's environment with the time of the last commit, which archives get."""
    return os.environ | {"SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct").decode().strip()}
