"""Remove a version: mark it, look who names it, then take its entry and its content away.

A producer writes a job's record, and then looks whether a model of it is being removed. Whoever
removes marks the version first, and looks at the jobs' records then. So one of the two sees the
other. Killed at any step, the same removal finishes what is left when it's repeated.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from camfleet.contract.records import ModelRef
from camfleet.errors import CamfleetError, InvalidRequest, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry.aliases import ModelState, flag
from camfleet.registry.changes import CHAMPION, Pinned
from camfleet.registry.editor import Draft, Editor
from camfleet.registry.names import Names
from camfleet.storage.storage import Storage

GRACE = 10.0  # seconds: workers may have looked a name up 5 seconds ago, and load the model now
_BATCH = 1000  # objects
_SHOWN = 5  # of those who name a version

Holders = Callable[[str, str, Callable[[], object]], Iterator[str]]


class Removed(NamedTuple):
    """A version that is gone, and what that has freed."""

    ref: ModelRef
    objects: int
    nbytes: int


class Remover:
    """Removes versions. `holders` yield who names a version, as text."""

    def __init__(
        self,
        storage: Storage,
        names: Names,
        editor: Editor,
        holders: Holders,
        grace: float = GRACE,
    ) -> None:
        self._storage = storage
        self._names = names
        self._editor = editor
        self._holders = holders
        self._grace = grace

    def remove(
        self, name: str, *, force: bool, reason: str | None, on_progress: Callable[[int], object]
    ) -> Removed:
        """Remove `id@version`, unless an alias names it or, without `force`, a job does.

        `on_progress` is told how many records of jobs were read: all of them are, twice.
        """
        model_id, _, version = name.partition("@")
        state = self._names.state(model_id)
        entry, mark = self._names.entries.one(model_id, version), state.removal(version)
        if entry:
            pinned = entry.pinned
        elif mark:
            pinned = Pinned(version=version, digest=mark.digest)
        else:
            raise self._unknown(state, name, version)
        digests = {pinned.digest, *self._former(model_id, version)}
        if entry:
            looking = _Look(self._holders, model_id, version, on_progress)
            self._take_entry(state, pinned, None if force else looking.check, reason)
        objects, nbytes = self._free(digests)
        self._editor.edit(model_id, lambda now: _removed(now, pinned), reason)
        ref = ModelRef(id=model_id, version=version, digest=pinned.digest)
        return Removed(ref, objects, nbytes)

    def _take_entry(
        self,
        state: ModelState,
        pinned: Pinned,
        check: Callable[[], object] | None,
        reason: str | None,
    ) -> None:
        """Delete an entry, unless somebody names the version: before it's marked, and then."""
        _check_aliases(state, pinned.version)
        if check:
            check()

        def marked(now: ModelState) -> Draft:
            _check_aliases(now, pinned.version)
            return Draft("removing", now.marked(pinned), pinned)

        mark = self._editor.edit(state.id, marked, reason)
        assert mark
        since = time.monotonic()
        try:
            if check:
                check()
            time.sleep(max(0.0, self._grace - (time.monotonic() - since)))
        except BaseException:
            with suppress(CamfleetError):
                self._editor.edit(state.id, lambda now: _kept(now, pinned, mark.number))
            raise
        self._storage.delete([keys.registry(state.id, pinned.version)])

    def _former(self, model_id: str, version: str) -> set[str]:
        """Return the digests that a version had, as far as is recorded."""
        changes = self._names.changes.history(model_id)
        return {each.digest for each in changes if each.version == version and each.digest}

    def _free(self, digests: set[str]) -> tuple[int, int]:
        """Delete content that no entry names; return the number of objects, and their bytes."""
        objects = nbytes = 0
        for digest in digests - {entry.digest for entry in self._names.entries.of()}:
            found = self._storage.objects(keys.model_prefix(digest))
            while batch := list(islice(found, _BATCH)):
                self._storage.delete([each.key for each in batch])
                objects += len(batch)
                nbytes += sum(each.nbytes for each in batch)
        return objects, nbytes

    def _unknown(self, state: ModelState, name: str, version: str) -> CamfleetError:
        named = state.named(version or CHAMPION)
        if named:
            return InvalidRequest(
                f"which version? {name} means version {named.version} now: camfleet models remove "
                f"{state.id}@{named.version}"
            )
        try:
            self._names.find(name)
        except UnknownModel as error:
            return error
        return UnknownModel(f"{name} was removed meanwhile")


class _Look:
    """A look at who names a version; counts the jobs that it reads."""

    def __init__(
        self, holders: Holders, model_id: str, version: str, on_progress: Callable[[int], object]
    ) -> None:
        self._holders = holders
        self._model_id = model_id
        self._version = version
        self._on_progress = on_progress
        self._read = 0

    def check(self) -> None:
        """Raise `InvalidRequest` if somebody does."""
        found = self._holders(self._model_id, self._version, self._count)
        first = list(islice(found, _SHOWN + 1))
        if first:
            more = " and others" if len(first) > _SHOWN else ""
            raise InvalidRequest(
                f"{self._model_id}@{self._version} is still named by {', '.join(first[:_SHOWN])}"
                f"{more}: delete these first. Or --force: results stay, but these can't be "
                "resumed, run again or drawn anew"
            )

    def _count(self) -> None:
        self._read += 1
        self._on_progress(self._read)


def _check_aliases(state: ModelState, version: str) -> None:
    """Raise `InvalidRequest` for a version that aliases name: no `force` removes these."""
    for alias in state.aliases_of(version):
        raise InvalidRequest(
            f"{alias} names {state.id}@{version}: promote another version (camfleet models promote "
            f"{state.id}@VERSION{flag(alias)}), or take the alias off (camfleet models unalias "
            f"{state.id}@{alias})"
        )


def _kept(state: ModelState, pinned: Pinned, number: int) -> Draft | None:
    """Take a mark back, unless somebody else has marked the version since."""
    mark = state.removal(pinned.version)
    if not mark or mark.number != number:
        return None
    return Draft("kept", state.unmarked(pinned.version), pinned)


def _removed(state: ModelState, pinned: Pinned) -> Draft | None:
    if not state.removal(pinned.version):  # somebody else has said so
        return None
    return Draft("removed", state.without(pinned.version), pinned)
