"""What is true of a model's aliases, and what it becomes: without a bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from msgspec.structs import replace

from camfleet.errors import InvalidRequest, UnknownModel
from camfleet.registry.changes import (
    CHAMPION,
    MOST_ALIASES,
    MOST_VERSIONS,
    Alias,
    ModelChange,
    Pinned,
    Removing,
)

NO_ALIASES = ("latest",)  # aliases that would say something else than they mean


@dataclass(frozen=True)
class ModelState:
    """What holds since an id's latest change, whose number is 0 where there is none."""

    id: str
    number: int = 0
    aliases: tuple[Alias, ...] = ()
    removing: tuple[Removing, ...] = ()

    @classmethod
    def since(cls, change: ModelChange) -> Self:
        return cls(change.id, change.number, change.aliases, change.removing)

    def history(self, alias: str) -> tuple[Pinned, ...]:
        """Return what an alias names and, before that, named: newest first; () for no alias."""
        return next((each.versions for each in self.aliases if each.name == alias), ())

    def named(self, alias: str) -> Pinned | None:
        """Return what an alias names."""
        return next(iter(self.history(alias)), None)

    def aliases_of(self, version: str) -> tuple[str, ...]:
        """Return the aliases that name a version."""
        return tuple(each.name for each in self.aliases if each.versions[0].version == version)

    def removal(self, version: str) -> Removing | None:
        """Return who is removing a version, if anybody is."""
        return next((each for each in self.removing if each.version == version), None)

    # What follows returns fields of the next change.

    def pointing(self, alias: str, to: Pinned) -> dict[str, Any]:
        """Let an alias name a version; it keeps what it named before."""
        before = self.history(alias)
        return self._with(alias, before if before[:1] == (to,) else (to, *before))

    def back(self, alias: str) -> dict[str, Any]:
        """Let an alias name what it named before. Raises `InvalidRequest` where that's nothing."""
        now, before = self.named(alias), self.history(alias)[1:]
        if not before:
            has = f"names version {now.version} since its beginning" if now else "doesn't exist"
            raise InvalidRequest(
                f"alias {alias} of {self.id} {has}: there is nothing to roll back to. Name a "
                f"version: camfleet models promote {self.id}@VERSION{flag(alias)}"
            )
        return self._with(alias, before)

    def without_alias(self, alias: str) -> dict[str, Any]:
        return self._with(alias, ())

    def marked(self, pinned: Pinned) -> dict[str, Any]:
        """Mark a version as being removed by the next change."""
        mark = Removing(version=pinned.version, digest=pinned.digest, number=self.number + 1)
        others = [each for each in self.removing if each.version != pinned.version]
        if len(others) >= MOST_ALIASES:
            raise InvalidRequest(
                f"{len(others)} versions of {self.id} are being removed already: finish that first"
            )
        return {"removing": (*others, mark)}

    def unmarked(self, version: str) -> dict[str, Any]:
        return {"removing": tuple(each for each in self.removing if each.version != version)}

    def without(self, version: str) -> dict[str, Any]:
        """Forget a version: no alias can go back to it."""
        kept = []
        for alias in self.aliases:
            left = [each for each in alias.versions if each.version != version]
            if left:
                kept.append(replace(alias, versions=tuple(each for each, _ in groupby(left))))
        return {**self.unmarked(version), "aliases": tuple(kept)}

    def _with(self, name: str, versions: Sequence[Pinned]) -> dict[str, Any]:
        others = [each for each in self.aliases if each.name != name]
        if not versions:
            return {"aliases": tuple(others)}
        if len(others) >= MOST_ALIASES:
            raise InvalidRequest(f"{self.id} has {len(others)} aliases already: take one off first")
        made = Alias(name=name, versions=tuple(versions[:MOST_VERSIONS]))
        return {"aliases": tuple(sorted((*others, made), key=lambda alias: alias.name))}


def flag(alias: str) -> str:
    """Return the option that names an alias on the command line."""
    return "" if alias == CHAMPION else f" --alias {alias}"


def check_kept(state: ModelState, version: str) -> None:
    """Raise `UnknownModel` for a version that somebody is removing."""
    if state.removal(version):
        raise UnknownModel(
            f"{state.id}@{version} is being removed (camfleet models history {state.id}); if that "
            f"was cut off, camfleet models remove {state.id}@{version} finishes it"
        )
