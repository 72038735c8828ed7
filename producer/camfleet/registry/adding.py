"""What becomes of the registry when a version is added: its entry, its aliases, its history."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from camfleet.contract.codec import encode_json
from camfleet.contract.records import ModelRef
from camfleet.errors import CallerError, InvalidRequest, ObjectChanged
from camfleet.jobstore import keys
from camfleet.registry.aliases import ModelState
from camfleet.registry.changes import ADDED, ADDING, CHAMPION, REPLACED
from camfleet.registry.editor import Draft, Editor, check_version
from camfleet.registry.entries import ModelEntry
from camfleet.registry.names import Names
from camfleet.storage.storage import Storage


class Adding(NamedTuple):
    """A version that is to be added, the aliases that are to name it, and why."""

    ref: ModelRef
    aliases: Sequence[str]
    reason: str | None


class Adder:
    """Writes the entry of a version whose content is in the bucket, checked by a worker."""

    def __init__(self, storage: Storage, names: Names, editor: Editor) -> None:
        self._storage = storage
        self._names = names
        self._editor = editor

    def admit(self, adding: Adding, *, replace: bool) -> None:
        """Raise `InvalidRequest` where a version can't be added, before anything is uploaded."""
        ref = adding.ref
        state = self._names.state(ref.id)
        check_version(state, ref.version)
        for alias in adding.aliases:
            self._editor.check_alias(ref.id, alias, but_for=ref.version)
        there = self._names.entries.one(ref.id, ref.version)
        if there and there.digest == ref.digest:
            return
        if not there and not self._storage.exists(keys.registry(ref.id, ref.version)):
            return
        if not replace:
            digest = there.digest[:12] if there else "it can't be read"
            raise InvalidRequest(
                f"model {ref.id} version {ref.version} is registered with other content "
                f"({digest}); give the card a new version, or replace it (--replace)"
            )
        for alias in state.aliases_of(ref.version):
            if alias not in adding.aliases:
                way = "--promote" if alias == CHAMPION else f"--alias {alias}"
                raise InvalidRequest(
                    f"{alias} names version {ref.version} of {ref.id} as it is: with {way} it "
                    "names what it's replaced by"
                )

    def publish(self, adding: Adding) -> None:
        """Write the entry; what the id's aliases name changes only as `adding` says.

        An id's first version is its champion. The same content again is left as it is.
        """
        ref = adding.ref
        before = self._names.entries.one(ref.id, ref.version)
        if not before or before.digest != ref.digest:
            self._write(adding, before)
        elif not self._is_recorded(before):  # whoever added it died right then
            self._record(before, ADDED, adding.reason)
        for alias in adding.aliases:
            self._editor.promote(f"{ref.id}@{ref.version}", alias=alias, reason=adding.reason)

    def _write(self, adding: Adding, before: ModelEntry | None) -> None:
        ref = adding.ref
        state = self._names.state(ref.id)
        if state.aliases and not state.number:  # else a bare id would mean what was added last
            self._editor.edit(ref.id, lambda now: None if now.number else Draft("recorded", {}))
        entry = ModelEntry(id=ref.id, version=ref.version, digest=ref.digest, added_at=time.time())
        self._put(entry)
        try:
            self._record(entry, REPLACED if before else ADDED, adding.reason)
            if not self._storage.exists(keys.card(ref.digest)):
                raise ObjectChanged(
                    f"somebody removed {ref.id}@{ref.version} while it was added: add it again"
                )
        except CallerError:
            self._take_back(entry, before)
            raise

    def _record(self, entry: ModelEntry, action: str, reason: str | None) -> None:
        """Write into the history that a version was added or replaced."""
        self._editor.edit(entry.id, lambda now: self._draft(entry, now, action), reason)

    def _is_recorded(self, entry: ModelEntry) -> bool:
        """Return whether the history has that a version was added, or nobody was to write it.

        As version 0.1.0 didn't.
        """
        first = None
        for change in self._names.changes.history(entry.id):
            first = change
            same = (change.version, change.digest) == (entry.version, entry.digest)
            if same and change.action in ADDING:
                return True
        if first:
            return entry.added_at < first.changed_at
        return any(one.added_at > entry.added_at for one in self._names.entries.of(entry.id))

    def _draft(self, entry: ModelEntry, state: ModelState, action: str) -> Draft:
        check_version(state, entry.version)
        pinned = entry.pinned
        if not state.named(CHAMPION) and self._is_alone(entry):
            return Draft(action, state.pointing(CHAMPION, pinned), pinned, CHAMPION)
        is_first = state.number == 0 and state.named(CHAMPION) == pinned
        return Draft(action, {}, pinned, CHAMPION if is_first else None)

    def _is_alone(self, entry: ModelEntry) -> bool:
        """Return whether an id has no other versions."""
        return all(other.version == entry.version for other in self._names.entries.of(entry.id))

    def _take_back(self, entry: ModelEntry, before: ModelEntry | None) -> None:
        if before:
            self._put(before)
        else:
            self._storage.delete([keys.registry(entry.id, entry.version)])

    def _put(self, entry: ModelEntry) -> None:
        key = keys.registry(entry.id, entry.version)
        self._storage.put(key, encode_json(entry), "application/json")
