"""The registry of models in object storage, read side: list them, and look one up."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import asdict

from camfleet.contract.records import DIGEST, ModelRef
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
from camfleet.registry.changes import ModelChange
from camfleet.registry.entries import ModelEntry
from camfleet.registry.model_files import MODEL_SUFFIXES
from camfleet.registry.names import Names
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
        self._names = Names(storage)

    def list(self) -> list[ModelVersion]:
        """Return all registered versions, by id, oldest first."""
        found = self._names.entries.of()
        numbers = self._names.changes.latest_numbers()
        versions: list[ModelVersion] = []
        for model_id in sorted({entry.id for entry in found}):
            entries = [entry for entry in found if entry.id == model_id]
            state = self._names.state_to_show(model_id, numbers.get(model_id, 0), entries)
            versions += _versions(entries, state)
        return versions

    def find(self, name: str) -> ModelRef:
        """Return what `id` (its champion), `id@version` or `id@alias` names.

        Raises `UnknownModel`, and `StorageUnavailable` where its entries may not be read.
        """
        return self._names.find(name)

    def aliases(self, model_id: str) -> dict[str, ModelRef]:
        """Return what each alias of an id names; `champion` is what the bare id means."""
        named = {alias.name: alias.versions[0] for alias in self._names.state(model_id).aliases}
        return {
            alias: ModelRef(id=model_id, version=pinned.version, digest=pinned.digest)
            for alias, pinned in named.items()
        }

    def history(self, model_id: str) -> Iterator[ModelChange]:
        """Yield who changed an id's versions and aliases, when, how and why, the newest first."""
        return self._names.changes.history(model_id)

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
