"""The registry of models in object storage, read side: list them, and look one up."""

import difflib
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from camfleet.contract.codec import Wire, decode_json
from camfleet.contract.records import ModelRef
from camfleet.errors import DigestMismatch, ObjectMissing, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.storage.storage import Storage

Report: TypeAlias = dict[str, Any]


class ModelEntry(Wire, frozen=True, kw_only=True):
    """One registered version of a model: `registry/<id>/<version>.json`."""

    id: str
    version: str
    digest: str
    added_at: float  # seconds since the epoch

    @property
    def ref(self) -> ModelRef:
        return ModelRef(id=self.id, version=self.version, digest=self.digest)


class Registry:
    """The registered models, as object storage knows them.

    A card and its files are stored under the digest of the stored card, which itself names the
    artifact's sha256, so nothing there ever changes. An entry says which digest an id and version
    stand for, and is written only once a worker has loaded the model.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def list(self) -> list[ModelEntry]:
        """Return all registered versions, by id, oldest first."""
        return sorted(self._entries(keys.registry()), key=lambda entry: (entry.id, entry.added_at))

    def find(self, name: str) -> ModelRef:
        """Return what `id` (the version registered last) or `id@version` names.

        Raises `UnknownModel`.
        """
        model_id, pins, version = name.partition("@")
        known = re.fullmatch(cards.ID, model_id) is not None
        entries = list(self._entries(keys.registry(model_id))) if known else []
        chosen = [entry for entry in entries if not pins or version == entry.version]
        if chosen:
            return max(chosen, key=lambda entry: entry.added_at).ref
        if entries:
            versions = ", ".join(sorted(entry.version for entry in entries))
            raise UnknownModel(f"model {model_id!r} has no version {version!r}, only {versions}")
        ids = sorted({entry.id for entry in self.list()})
        near = difflib.get_close_matches(model_id, ids, n=1)
        raise UnknownModel(
            f"no model {model_id!r} is registered; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + (f"there are {', '.join(ids)}" if ids else "there are none yet")
            + " (add one: camfleet models add CARD.toml)"
        )

    def card(self, digest: str) -> Card:
        """Return the stored card; raise `UnknownModel`, or `DigestMismatch` if it was changed."""
        try:
            data = self._storage.get(keys.card(digest)).data
        except ObjectMissing as error:
            raise UnknownModel(f"no model card with digest {digest} in storage") from error
        if cards.card_digest(data) != digest:
            raise DigestMismatch(f"the card at {keys.card(digest)} is not what its digest says")
        return cards.parse_card(data.decode(), digest[:12])

    def report(self, digest: str) -> Report:
        """Return what the worker found when the model was added."""
        report: Report = msgspec.json.decode(self._storage.get(keys.report(digest)).data)
        return report

    def _entries(self, prefix: str) -> Iterator[ModelEntry]:
        for key in self._storage.keys(prefix):
            yield decode_json(self._storage.get(key).data, ModelEntry)
