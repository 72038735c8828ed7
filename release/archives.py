"""Wheel and sdist, built with the Hatchling that is installed here, and what must be in them."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from release.sources import ROOT, environment

PACKAGES = {"camfleet": "producer/camfleet", "camfleet_worker": "worker/camfleet_worker"}
SOURCES = {
    *("producer", "worker", "docs", "deploy", "examples"),
    *("CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "constraints.txt", "pyproject.toml"),
    *("PKG-INFO", ".gitignore"),  # which Hatchling adds
}
# One of each kind that a packager's rule could lose, in case that the tree has lost it as well.
NEEDED = (
    "camfleet/py.typed",
    "camfleet_worker/py.typed",
    "camfleet/gateway/page/index.html",
    "camfleet/gateway/page/app.js",
    "camfleet/gateway/page/style.css",
    "camfleet/broker/lua/commit.lua",
    "camfleet/audit/templates/report.html",
)


def build(tree: Path, to: Path) -> tuple[Path, Path]:
    """Build the sdist of a tree, and the wheel of that sdist; return wheel and sdist."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", to, tree],
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,), (sdist,) = to.glob("*.whl"), to.glob("*.tar.gz")
    return wheel, sdist


def members(archive: Path) -> dict[str, bytes]:
    """Return an archive's files by name; those of an sdist without the folder that holds them."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    with tarfile.open(archive) as opened:
        found = {each.name: opened.extractfile(each) for each in opened if each.isfile()}
        return {name.partition("/")[2]: file.read() for name, file in found.items() if file}


def wheel_problems(files: Mapping[str, bytes], tree: Path) -> Iterator[str]:
    """Yield what is wrong with a wheel's files, given the tree that it was built from."""
    expected = {
        f"{package}/{path.relative_to(tree / folder).as_posix()}": path.read_bytes()
        for package, folder in PACKAGES.items()
        for path in (tree / folder).rglob("*")
        if path.is_file()
    }
    packaged = {name for name in files if ".dist-info/" not in name}
    yield from (f"{name} is missing" for name in sorted({*expected, *NEEDED} - packaged))
    yield from (f"{name} is no file of the packages" for name in sorted(packaged - {*expected}))
    changed = (name for name in packaged & {*expected} if files[name] != expected[name])
    yield from (f"{name} isn't what the tree holds" for name in sorted(changed))
    yield from _machine_paths(files)


def sdist_problems(files: Mapping[str, bytes], tree: Path) -> Iterator[str]:
    """Yield what is wrong with an sdist's files: `tests`, say, or a source that isn't there."""
    others = {name for name in files if name.partition("/")[0] not in SOURCES}
    yield from (f"{name} isn't for users" for name in sorted(others))
    paths = [path for path in tree.rglob("*") if path.is_file()]
    expected = {path.relative_to(tree).as_posix() for path in paths}
    needed = {name for name in expected if name.partition("/")[0] in SOURCES}
    yield from (f"{name} is missing" for name in sorted(needed - {*files}))
    yield from _machine_paths(files)


def _machine_paths(files: Mapping[str, bytes]) -> Iterator[str]:
    folders = {str(ROOT), str(Path.home())}
    for name, content in sorted(files.items()):
        for folder in folders:
            if f"{folder}/".encode() in content:
                yield f"{name} names {folder}, a folder of this machine"
