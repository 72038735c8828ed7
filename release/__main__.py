"""`python -m release`: wheel, sdist and list of components in `dist/`, and clean environments.

The last commit is built twice, and both must have the same bytes. Exit code 1 if anything is wrong.
"""

import json
import sys
import tempfile
from pathlib import Path

from release import archives, components, installed, sources, versions
from release.sources import ROOT

DIST = ROOT / "dist"


def main() -> int:
    problems = list(
        versions.changelog_problems((ROOT / "CHANGELOG.md").read_text(), versions.version())
    )
    with tempfile.TemporaryDirectory() as folder:
        problems += _build(Path(folder))
    if not problems:
        (wheel,) = DIST.glob("*.whl")
        problems += _components(_install(wheel))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _build(scratch: Path) -> list[str]:
    """Build the last commit in two places; put the files into `dist/` if all is well."""
    if sources.git("status", "--porcelain", "--untracked-files=no"):
        print("some files here aren't committed; what is built is the last commit")
    made = []
    for place in ("one", "other"):
        tree = scratch / place
        tree.mkdir()
        sources.committed(tree)
        made.append(archives.build(tree, scratch / f"{place}-dist"))
    problems = [
        f"{one.name} isn't the same when it's built again"
        for one, other in zip(*made, strict=True)
        if one.read_bytes() != other.read_bytes()
    ]
    wheel, sdist = made[0]
    problems += archives.wheel_problems(archives.members(wheel), scratch / "one")
    problems += archives.sdist_problems(archives.members(sdist), scratch / "one")
    if not problems:
        DIST.mkdir(exist_ok=True)
        for old in DIST.glob("camfleet-*"):
            old.unlink()
        for path in (wheel, sdist):
            (DIST / path.name).write_bytes(path.read_bytes())
            print(f"dist/{path.name}: {path.stat().st_size:,} bytes, twice the same")
    return problems


def _install(wheel: Path) -> Path:
    """Install the wheel for each Python that is here; return one environment's interpreter."""
    pythons = installed.pythons()
    for minor, python in pythons.items():
        for kind in installed.KINDS:
            print(f"Python {minor}: installs the wheel, {installed.KINDS[kind]}", flush=True)
            installed.install(wheel, minor, python, kind)
    for minor in set(installed.MINORS) - set(pythons):
        print(f"Python {minor} isn't here: not tried")
    return installed.environment(next(iter(pythons)), "all")


def _components(python: Path) -> list[str]:
    path = DIST / f"camfleet-{versions.version()}.cdx.json"
    components.write(python, path)
    components.validate(path)
    listed = json.loads(path.read_text("utf-8"))
    print(f"dist/{path.name}: {len(listed['components'])} components")
    return list(components.problems(listed, components.in_environment(python)))


if __name__ == "__main__":
    sys.exit(main())
