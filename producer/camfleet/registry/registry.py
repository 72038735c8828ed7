"""The registry of models in object storage, read side: list them, and look one up."""

import difflib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from camfleet.contract.codec import Wire
from camfleet.contract.records import DIGEST, MODEL_ID, ModelRef
from camfleet.errors import (
    CamfleetError,
    DigestMismatch,
    InvalidCard,
    InvalidRequest,
    ObjectMissing,
    StorageUnavailable,
    UnknownModel,
)
from camfleet.foreign import visible
from camfleet.jobstore import keys, objects
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.registry.model_files import MODEL_SUFFIXES
from camfleet.registry.reports import Report, parse_report
from camfleet.storage.storage import Storage

__all__ = ["ModelEntry", "Registry", "Report"]

logger = logging.getLogger(__name__)

_MOST_ENTRY = 2**16  # bytes
_MOST_REMEMBERED = 2**12  # keys that a warning was about


class ModelEntry(Wire, frozen=True, kw_only=True):
    """One registered version of a model: `registry/<id>/<version>.json`."""

    id: Annotated[str, Meta(pattern=MODEL_ID)]
    version: Annotated[str, Meta(pattern=MODEL_ID)]
    digest: Annotated[str, Meta(pattern=DIGEST)]
    added_at: float  # seconds since the epoch

    @property
    def ref(self) -> ModelRef:
        return ModelRef(id=self.id, version=self.version, digest=self.digest)


class Registry:
    """The registered models, as object storage knows them.

    A card and its files are stored under the digest of the stored card, which itself names the
    artifact's sha256, so nothing there ever changes. An entry says which digest an id and version
    stand for, and is written only once a worker has loaded the model.

    Whatever else lies there is ignored, with one warning each.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._warned: set[str] = set()

    def list(self) -> list[ModelEntry]:
        """Return all registered versions, by id, oldest first."""
        found = (self._entry(key) for key in self._keys(keys.registry()))
        return sorted(filter(None, found), key=lambda entry: (entry.id, entry.added_at))

    def find(self, name: str) -> ModelRef:
        """Return what `id` (the version registered last) or `id@version` names.

        Raises `UnknownModel`, and `StorageUnavailable` where its entries may not be read.
        """
        model_id, pins, version = name.partition("@")
        known = re.fullmatch(MODEL_ID, model_id) is not None
        entries = self._versions(model_id, version) if known else []
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

    def _versions(self, model_id: str, version: str) -> tuple[ModelEntry, ...]:
        """Return an id's entries, of which the `version` that is asked for must be readable."""
        found: tuple[ModelEntry, ...] = ()
        refused = None
        for key in self._keys(keys.registry(model_id)):
            try:
                entry = self._read(key)
            except StorageUnavailable as error:
                if not error.refused or key == keys.registry(model_id, version):
                    raise
                self._warn(key, refused := error)
                continue
            found += (entry,) if entry else ()
        if refused and not found:
            raise refused
        return found

    def _entry(self, key: str) -> ModelEntry | None:
        """Return an entry, None where it isn't one or may not be read."""
        try:
            return self._read(key)
        except StorageUnavailable as error:
            if not error.refused:
                raise
            self._warn(key, error)
            return None

    def _read(self, key: str) -> ModelEntry | None:
        """Return an entry, None where it isn't one; raise `StorageUnavailable`."""
        try:
            entry = objects.read_json(self._storage, key, ModelEntry, _MOST_ENTRY)
        except (ObjectMissing, InvalidRequest) as error:
            self._warn(key, error)
            return None
        if keys.registry(entry.id, entry.version) == key:
            return entry
        self._warn(key, f"it says that it's of {entry.id} version {entry.version}")
        return None

    def _keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys below a prefix that can be those of entries."""
        for key in self._storage.keys(prefix):
            if keys.is_entry(key):
                yield key
            else:
                self._warn(key, "its name isn't that of a model's version")

    def _warn(self, key: str, reason: CamfleetError | str) -> None:
        if key not in self._warned and len(self._warned) < _MOST_REMEMBERED:
            self._warned.add(key)
            what = visible(self._storage.uri(key))
            logger.warning("%s is no entry of the registry and ignored: %s", what, reason)
