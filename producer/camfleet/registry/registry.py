"""The registry of models in object storage, read side: list them, and look one up."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import asdict

from camfleet.contract.records import DIGEST, MODEL_ID, ModelRef
from camfleet.errors import (
    DigestMismatch,
    InvalidCard,
    InvalidRequest,
    ObjectMissing,
    UnknownModel,
)
from camfleet.jobstore import keys, objects
from camfleet.registry import cards
from camfleet.registry.aliases import ModelState
from camfleet.registry.cards import Card
from camfleet.registry.changes import CHAMPION, Alias, Changes, ModelChange
from camfleet.registry.entries import Entries, ModelEntry, Warnings
from camfleet.registry.model_files import MODEL_SUFFIXES
from camfleet.registry.reports import Report, parse_report
from camfleet.storage.storage import Storage

__all__ = ["ModelEntry", "ModelVersion", "Registry", "Report"]


class ModelVersion(ModelEntry, frozen=True, kw_only=True):
    """A registered version, and what it's called besides."""

    aliases: tuple[str, ...]  # that name it
    former: tuple[str, ...]  # aliases that name what it was before it was replaced
    removing: bool  # somebody is removing it


class Registry:
    """The registered models, as object storage knows them.

    A card and its files are stored under the digest of the stored card, which itself names the
    artifact's sha256, so nothing there ever changes. An entry says which digest an id and version
    stand for, and is written only once a worker has loaded the model. An alias names a version
    until somebody lets it name another; a bare id is what the alias `champion` names.

    Whatever else lies there is ignored, with one warning each.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._warn = Warnings(storage)
        self._entries = Entries(storage, self._warn)
        self._changes = Changes(storage, self._warn)

    def list(self) -> list[ModelVersion]:
        """Return all registered versions, by id, oldest first."""
        found = self._entries.of()
        numbers = self._changes.latest_numbers()
        versions: list[ModelVersion] = []
        for model_id in sorted({entry.id for entry in found}):
            entries = [entry for entry in found if entry.id == model_id]
            state = self._state_to_show(model_id, numbers.get(model_id, 0), entries)
            versions += _versions(entries, state)
        return versions

    def find(self, name: str) -> ModelRef:
        """Return what `id` (its champion), `id@version` or `id@alias` names.

        Raises `UnknownModel`, and `StorageUnavailable` where its entries may not be read.
        """
        model_id, pins, word = name.partition("@")
        if not re.fullmatch(MODEL_ID, model_id):
            raise self._unknown(model_id)
        if entry := self._entries.one(model_id, word):
            return entry.ref
        state = self.state(model_id)
        if named := state.named(word if pins else CHAMPION):
            return ModelRef(id=model_id, version=named.version, digest=named.digest)
        raise self._unnamed(state, word) if pins else self._unpromoted(state)

    def state(self, model_id: str) -> ModelState:
        """Return what an id's aliases name now.

        Where nothing was recorded yet, as by version 0.1.0, the champion is the version added last.
        """
        latest = self._changes.latest(model_id)
        if latest:
            return ModelState.since(latest)
        return _unrecorded(model_id, self._entries.readable(model_id))

    def aliases(self, model_id: str) -> dict[str, ModelRef]:
        """Return what each alias of an id names; `champion` is what the bare id means."""
        named = {alias.name: alias.versions[0] for alias in self.state(model_id).aliases}
        return {
            alias: ModelRef(id=model_id, version=pinned.version, digest=pinned.digest)
            for alias, pinned in named.items()
        }

    def history(self, model_id: str) -> Iterator[ModelChange]:
        """Yield who changed an id's versions and aliases, when, how and why, the newest first."""
        return self._changes.history(model_id)

    def card(self, digest: str) -> Card:
        """Return the stored card; raise `UnknownModel`, or `DigestMismatch` if it was changed.

        What it returns is what somebody registered, to the last byte: the digest is that of it.
        """
        if not re.fullmatch(DIGEST, digest):
            raise UnknownModel(f"{digest[:80]!r} is no digest of a model card")
        try:
            data = objects.read(self._storage, keys.card(digest), cards.STORED_BYTES).data
        except ObjectMissing as error:
            raise UnknownModel(f"no model card with digest {digest} in storage") from error
        if cards.card_digest(data) != digest:
            raise DigestMismatch(f"the card at {keys.card(digest)} is not what its digest says")
        card = cards.parse_card(data.decode(errors="replace"), digest[:12])
        if Path(card.artifact).suffix not in MODEL_SUFFIXES or card.sha256 is None:
            raise InvalidCard(f"the card at {keys.card(digest)} isn't as camfleet stores cards")
        return card

    def report(self, digest: str) -> Report:
        """Return what the worker found when the model was added."""
        key = keys.report(digest)
        data = objects.read(self._storage, key, objects.MOST_JSON).data
        try:
            return parse_report(data)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{self._storage.uri(key)} can't be read ({error}): add the model again"
            ) from error

    def _state_to_show(
        self, model_id: str, number: int, entries: Sequence[ModelEntry]
    ) -> ModelState:
        """Return an id's state, without aliases where its latest change can't be read."""
        if not number:
            return _unrecorded(model_id, entries)
        try:
            return ModelState.since(self._changes.read(model_id, number))
        except InvalidRequest as error:
            self._warn(keys.change(model_id, number), error)
            return ModelState(model_id)

    def _unknown(self, model_id: str) -> UnknownModel:
        ids = sorted({entry.id for entry in self._entries.of()})
        near = difflib.get_close_matches(model_id, ids, n=1)
        return UnknownModel(
            f"no model {model_id!r} is registered; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + (f"there are {', '.join(ids)}" if ids else "there are none yet")
            + " (add one: camfleet models add CARD.toml)"
        )

    def _unnamed(self, state: ModelState, word: str) -> UnknownModel:
        """Return why `id@word` names nothing."""
        versions = sorted(entry.version for entry in self._entries.of(state.id))
        if not versions:
            return self._unknown(state.id)
        aliases = ", ".join(alias.name for alias in state.aliases)
        return UnknownModel(
            f"model {state.id!r} has no version {word!r}, only {', '.join(versions)}; "
            + (f"its aliases are {aliases}" if aliases else "it has no aliases")
        )

    def _unpromoted(self, state: ModelState) -> UnknownModel:
        """Return why a bare id names nothing."""
        versions = sorted(entry.version for entry in self._entries.of(state.id))
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


def _versions(entries: Sequence[ModelEntry], state: ModelState) -> Iterator[ModelVersion]:
    """Yield an id's entries, the oldest first, with what names them."""
    for entry in sorted(entries, key=lambda entry: entry.added_at):
        named = state.aliases_of(entry.version)
        meant = tuple(alias for alias in named if state.named(alias) == entry.pinned)
        yield ModelVersion(
            **asdict(entry),
            aliases=meant,
            former=tuple(alias for alias in named if alias not in meant),
            removing=state.removal(entry.version) is not None,
        )
