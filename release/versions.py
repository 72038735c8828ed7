"""What names the version: `pyproject.toml`, the changelog's newest heading, wheels in documents."""

import re
import tomllib
from collections.abc import Iterator

from release.sources import ROOT

_HEADING = re.compile(r"^## \[(.+?)\](?: - (.+))?$", re.MULTILINE)
_WHEEL = re.compile(r"camfleet-([^-\s]+)-py3-none-any\.whl")


def version() -> str:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return str(table["project"]["version"])


def changelog_problems(text: str, version: str) -> Iterator[str]:
    """Yield why a changelog isn't that of a version: another heading, or one without its day."""
    name, day = next(iter(_HEADING.findall(text)), ("", ""))
    if name != version:
        yield f"CHANGELOG.md begins with {name or 'no version'}, pyproject.toml says {version}"
    if ".dev" in version and day != "unreleased":
        yield f"{version} is a version in the making: its heading in CHANGELOG.md says `unreleased`"
    if ".dev" not in version and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        yield f"the heading of {version} in CHANGELOG.md needs the day of the release"


def document_problems(name: str, text: str, version: str) -> Iterator[str]:
    """Yield which wheels a document names that this version doesn't build."""
    for named in _WHEEL.findall(text):
        if named not in {version, "VERSION"}:
            yield f"{name} names the wheel of {named}, pyproject.toml says {version}"
