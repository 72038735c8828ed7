"""Advisories in OSV's form, a file each, and which of them are about versions that are used here.

The form is described at https://ossf.github.io/osv-schema/. OSV publishes all advisories of an
ecosystem as one zip file (`URL`). A registry's own list isn't asked: many mirrors leave it empty,
which looks like good news.
"""

import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.request import Request, urlopen

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from dependencies.installed import Component

URL = "https://osv-vulnerabilities.storage.googleapis.com/{}/all.zip"
_SECONDS = 60
_LARGEST = 4 * 2**20  # bytes of one advisory; the longest known have some hundred thousand


class NoSource(Exception):
    """There's nothing to compare with: nothing has been scanned."""


@dataclass(frozen=True, order=True)
class Finding:
    """An advisory about a version; `sure` is False where versions can't be compared."""

    component: Component
    id: str
    names: tuple[str, ...]  # of the same advisory elsewhere, such as CVE-2025-1234
    summary: str
    fixed: str
    sure: bool

    def __str__(self) -> str:
        names = f" ({', '.join(self.names)})" if self.names else ""
        about = "" if self.sure else ", perhaps: the versions can't be compared"
        way_out = f"; fixed in {self.fixed}" if self.fixed else ""
        return f"{self.component}{about}: {self.id}{names}: {self.summary}{way_out}"


def fetch(ecosystems: Iterable[str], folder: Path) -> list[Path]:
    """Download all advisories of some ecosystems; raise `NoSource` where that can't be done."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for ecosystem in sorted(set(ecosystems)):
        target = folder / f"{ecosystem}.zip"
        try:
            request = Request(URL.format(ecosystem))  # noqa: S310  # https
            with urlopen(request, timeout=_SECONDS) as answer, target.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file)
        except OSError as error:
            raise NoSource(f"{URL.format(ecosystem)}: {error}") from error
        files.append(target)
    return files


def findings(sources: Iterable[Path], components: Iterable[Component]) -> list[Finding]:
    """Return what advisories in zip files, folders and files say of components, sorted.

    Raises `NoSource` if they say nothing at all of an ecosystem that is used here, since then
    they can't have been meant for it.
    """
    used: dict[tuple[str, str], list[Component]] = {}
    for component in components:
        used.setdefault((component.ecosystem, component.name), []).append(component)
    unseen = {ecosystem for ecosystem, _ in used}
    found = set()
    for advisory in _advisories(sources):
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            ecosystem = str(package.get("ecosystem", "")).partition(":")[0]
            unseen.discard(ecosystem)
            name = str(package.get("name", ""))
            name = canonicalize_name(name) if ecosystem == "PyPI" else name
            for component in used.get((ecosystem, name), ()):
                found |= set(_finding(advisory, affected, component))
    if unseen:
        raise NoSource(f"there's no advisory about {', '.join(sorted(unseen))} in what was given")
    return sorted(found)


def _advisories(sources: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for source in sources:
        try:
            yield from map(_read, _files(source))
        except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
            raise NoSource(f"{source}: {error}") from error


def _files(source: Path) -> Iterator[IO[bytes]]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix in (".json", ".zip"):
                yield from _files(path)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    with archive.open(name) as file:
                        yield file
    else:
        with source.open("rb") as file:
            yield file


def _read(file: IO[bytes]) -> dict[str, Any]:
    data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"an advisory has more than {_LARGEST} bytes")
    advisory = json.loads(data)
    if not isinstance(advisory, dict) or "id" not in advisory:
        raise ValueError("what should be an advisory has no id")
    return advisory


def _finding(
    advisory: dict[str, Any], affected: dict[str, Any], component: Component
) -> Iterator[Finding]:
    """Yield a finding if an advisory that isn't withdrawn is about the component's version."""
    if advisory.get("withdrawn"):
        return
    verdict = (
        True
        if component.version in affected.get("versions", ())
        else _within(affected.get("ranges", ()), component.version)
    )
    if verdict is False:
        return
    events = [event for each in affected.get("ranges", ()) for event in each.get("events", ())]
    fixed = [str(event["fixed"]) for event in events if "fixed" in event]
    summary = str(advisory.get("summary") or advisory.get("details") or "no summary")
    yield Finding(
        component,
        str(advisory["id"]),
        tuple(map(str, advisory.get("aliases", ()))),
        " ".join(summary.split())[:200],
        ", ".join(fixed),
        sure=verdict is True,
    )


def _within(ranges: Iterable[dict[str, Any]], version: str) -> bool | None:
    """Return whether a version lies in one of the ranges, None where that can't be said."""
    verdict: bool | None = False
    for each in ranges:
        if each.get("type") == "GIT":
            continue
        try:
            if _is_affected(each.get("events", ()), Version(version)):
                return True
        except InvalidVersion:
            verdict = None
    return verdict


def _is_affected(events: Iterable[dict[str, str]], version: Version) -> bool:
    """Return what the last event before a version says, as OSV's own evaluation goes."""
    affected = False
    for event in sorted(events, key=_order):
        (kind, text), *_ = event.items()
        at = _version(text)
        if kind == "introduced" and version >= at:
            affected = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            affected = False
    return affected


def _order(event: dict[str, str]) -> tuple[Version, bool]:
    (kind, text), *_ = event.items()
    return _version(text), kind != "introduced"


def _version(text: str) -> Version:
    return Version("0.dev0" if text == "0" else text)
