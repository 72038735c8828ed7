"""The entries of the registry: which digest an id and version stand for."""

import logging
import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from msgspec import Meta

from camfleet.contract.codec import Wire
from camfleet.contract.records import DIGEST, MODEL_ID, ModelRef
from camfleet.contract.times import Seconds
from camfleet.errors import CamfleetError, InvalidRequest, ObjectMissing, StorageUnavailable
from camfleet.foreign import visible
from camfleet.jobstore import keys, objects
from camfleet.registry.changes import Pinned
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)

_MOST = 2**16  # bytes
_MOST_ENTRIES = 100_000
_MOST_REMEMBERED = 2**12  # keys that a warning was about


class ModelEntry(Wire, frozen=True, kw_only=True):
    """One registered version of a model: `registry/<id>/<version>.json`."""

    id: Annotated[str, Meta(pattern=MODEL_ID)]
    version: Annotated[str, Meta(pattern=MODEL_ID)]
    digest: Annotated[str, Meta(pattern=DIGEST)]
    added_at: Seconds

    @property
    def ref(self) -> ModelRef:
        return ModelRef(id=self.id, version=self.version, digest=self.digest)

    @property
    def pinned(self) -> Pinned:
        return Pinned(version=self.version, digest=self.digest)


class Warnings:
    """One warning for each key where something lies that isn't the registry's."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._warned: set[str] = set()

    def __call__(self, key: str, reason: CamfleetError | str) -> None:
        if key not in self._warned and len(self._warned) < _MOST_REMEMBERED:
            self._warned.add(key)
            what = visible(self._storage.uri(key))
            logger.warning("%s is no entry of the registry and ignored: %s", what, reason)


class Entries:
    """What lies under `registry/`. Whatever is no entry there is ignored, with a warning."""

    def __init__(self, storage: Storage, warn: Warnings) -> None:
        self._storage = storage
        self._warn = warn

    def of(self, model_id: str = "", most: int | None = None) -> list[ModelEntry]:
        """Return the entries of an id, or of all ids; those that may not be read are left out.

        With `most` no more objects are read.
        """
        return [entry for entry, _ in islice(self._found(model_id), most) if entry]

    def readable(self, model_id: str) -> list[ModelEntry]:
        """Return an id's entries; raise `StorageUnavailable` where none of them may be read."""
        found = list(self._found(model_id))
        entries = [entry for entry, _ in found if entry]
        refused = [error for _, error in found if error]
        if refused and not entries:
            raise refused[-1]
        return entries

    def one(self, model_id: str, version: str) -> ModelEntry | None:
        """Return the entry of a version, None where there is none; raise `StorageUnavailable`."""
        known = re.fullmatch(MODEL_ID, version) is not None
        return self._read(keys.registry(model_id, version)) if known else None

    def _found(
        self, model_id: str
    ) -> Iterator[tuple[ModelEntry | None, StorageUnavailable | None]]:
        """Yield the entries, and why one may not be read."""
        prefix = keys.registry(model_id)
        for key in objects.keys_below(self._storage, prefix, _MOST_ENTRIES):
            if not keys.is_entry(key):
                self._warn(key, "its name isn't that of a model's version")
                continue
            try:
                yield self._read(key), None
            except StorageUnavailable as error:
                if not error.refused:
                    raise
                self._warn(key, error)
                yield None, error

    def _read(self, key: str) -> ModelEntry | None:
        try:
            entry = objects.read_json(self._storage, key, ModelEntry, _MOST)
        except ObjectMissing:
            return None
        except InvalidRequest as error:
            self._warn(key, error)
            return None
        if keys.registry(entry.id, entry.version) == key:
            return entry
        self._warn(key, f"it says that it's of {entry.id} version {entry.version}")
        return None
