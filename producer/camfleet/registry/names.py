"""What a model's names mean: versions by their entries, aliases by the latest change."""

import difflib
import re
from collections.abc import Sequence

from camfleet.contract.records import MODEL_ID, ModelRef
from camfleet.errors import InvalidRequest, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry.aliases import ModelState, check_kept
from camfleet.registry.changes import ADDING, CHAMPION, Alias, Changes
from camfleet.registry.entries import Entries, ModelEntry, Warnings
from camfleet.storage.storage import Storage

_SHOWN = 200  # entries that are read so that an error can name some


class Names:
    """The names in a bucket: its `entries` and `changes`, and what follows from both."""

    def __init__(self, storage: Storage) -> None:
        self._warn = Warnings(storage)
        self.entries = Entries(storage, self._warn)
        self.changes = Changes(storage, self._warn)

    def find(self, name: str) -> ModelRef:
        """Return what `id` (its champion), `id@version` or `id@alias` names.

        Raises `UnknownModel`, and `StorageUnavailable` where its entries may not be read.
        """
        model_id, pins, word = name.partition("@")
        if not re.fullmatch(MODEL_ID, model_id):
            raise self._unknown(model_id)
        if entry := self.entries.one(model_id, word):
            return entry.ref
        state = self.state(model_id)
        if named := state.named(word if pins else CHAMPION):
            return ModelRef(id=model_id, version=named.version, digest=named.digest)
        raise self._unnamed(state, word) if pins else self._unpromoted(state)

    def state(self, model_id: str) -> ModelState:
        """Return what an id's aliases name now.

        Where nothing was recorded yet, as by version 0.1.0, the champion is the version added last.
        """
        latest = self.changes.latest(model_id)
        if latest:
            return ModelState.since(latest)
        return _unrecorded(model_id, self.entries.readable(model_id))

    def added_last(self, model_id: str) -> ModelRef | None:
        """Return the version that was added or replaced last and isn't being removed, if any.

        By the numbers of changes, as clocks of machines differ; where none was recorded, by time.
        """
        state = None
        for change in self.changes.history(model_id):
            state = state or ModelState.since(change)
            if change.action not in ADDING or change.version is None:
                continue
            entry = self.entries.one(model_id, change.version)
            if entry and entry.digest == change.digest and not state.removal(entry.version):
                return entry.ref
        state = state or ModelState(model_id)
        kept = [one for one in self.entries.readable(model_id) if not state.removal(one.version)]
        return max(kept, key=lambda entry: entry.added_at).ref if kept else None

    def check_kept(self, ref: ModelRef) -> None:
        """Raise `UnknownModel` for a version that somebody is removing, or has removed."""
        check_kept(self.state(ref.id), ref.version)
        if not self.entries.one(ref.id, ref.version):
            raise self._unnamed(self.state(ref.id), ref.version)

    def state_to_show(
        self, model_id: str, number: int, entries: Sequence[ModelEntry]
    ) -> ModelState:
        """Return an id's state, without aliases where its latest change can't be read."""
        if not number:
            return _unrecorded(model_id, entries)
        try:
            return ModelState.since(self.changes.read(model_id, number))
        except InvalidRequest as error:
            self._warn(keys.change(model_id, number), error)
            return ModelState(model_id)

    def _unknown(self, model_id: str) -> UnknownModel:
        ids = sorted({entry.id for entry in self.entries.of(most=_SHOWN)})
        near = difflib.get_close_matches(model_id, ids, n=1)
        return UnknownModel(
            f"no model {model_id!r} is registered; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + (f"there are {', '.join(ids)}" if ids else "there are none yet")
            + " (add one: camfleet models add CARD.toml)"
        )

    def _unnamed(self, state: ModelState, word: str) -> UnknownModel:
        """Return why `id@word` names nothing."""
        versions = sorted(entry.version for entry in self.entries.of(state.id, _SHOWN))
        if not versions:
            return self._unknown(state.id)
        aliases = ", ".join(alias.name for alias in state.aliases)
        return UnknownModel(
            f"model {state.id!r} has no version {word!r}, only {', '.join(versions)}; "
            + (f"its aliases are {aliases}" if aliases else "it has no aliases")
        )

    def _unpromoted(self, state: ModelState) -> UnknownModel:
        """Return why a bare id names nothing."""
        versions = sorted(entry.version for entry in self.entries.of(state.id, _SHOWN))
        if not versions:
            return self._unknown(state.id)
        return UnknownModel(
            f"no version of {state.id!r} is promoted, of {', '.join(versions)}: camfleet models "
            f"promote {state.id}@VERSION, or name the version"
        )


def _unrecorded(model_id: str, entries: Sequence[ModelEntry]) -> ModelState:
    """Return the state of an id of which no change was recorded."""
    if not entries:
        return ModelState(model_id)
    last = max(entries, key=lambda entry: entry.added_at)
    return ModelState(model_id, aliases=(Alias(name=CHAMPION, versions=(last.pinned,)),))
