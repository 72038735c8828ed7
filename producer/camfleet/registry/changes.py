"""What an id's aliases name, and how that came about: one object for each change, never rewritten.

Whoever changes something writes the next number, on the condition that nobody else has. Each change
holds what is true since then, so whoever wants to know that reads the latest one only.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

from msgspec import Meta

from camfleet.contract.codec import Document, Wire, encode_json
from camfleet.contract.records import DIGEST, MODEL_ID
from camfleet.errors import InvalidRequest, ObjectChanged
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

CHAMPION = "champion"  # what a bare id means
ADDED, REPLACED = "added", "replaced"
ADDING = (ADDED, REPLACED)  # what gives a version its content
MOST_ALIASES = 32  # of an id
MOST_VERSIONS = 32  # that an alias remembers
LONGEST_REASON = 1000  # characters
LONGEST_NAME = 100  # of whoever changed something

_MOST = 2**20  # bytes of a change
_MOST_OWN = 2 * keys.MOST_CHANGES  # objects of an id that are listed
_MOST_KEYS = 10**6  # of all ids that are listed
_Id = Annotated[str, Meta(pattern=MODEL_ID)]
_Digest = Annotated[str, Meta(pattern=DIGEST)]
_Word = Annotated[str, Meta(max_length=LONGEST_NAME)]


class Pinned(Wire, frozen=True, kw_only=True):
    """A version, and the content that it stood for when it was chosen."""

    version: _Id
    digest: _Digest


class Alias(Wire, frozen=True, kw_only=True):
    """A name for a version; `versions` are what it names and, before that, named: newest first."""

    name: _Id
    versions: Annotated[tuple[Pinned, ...], Meta(min_length=1, max_length=MOST_VERSIONS)]


class Removing(Wire, frozen=True, kw_only=True):
    """A version that somebody is removing; `number` is that of the change that says so."""

    version: _Id
    digest: _Digest
    number: Annotated[int, Meta(ge=1)]


class ModelChange(Document, frozen=True, kw_only=True):
    """`registry-changes/<id>/00001.json`: one change of a model, and what is true since then."""

    id: _Id
    number: Annotated[int, Meta(ge=1, le=keys.MOST_CHANGES)]
    action: _Word
    version: _Id | None
    digest: _Digest | None
    alias: _Id | None
    changed_at: float  # seconds since the epoch
    user: _Word
    host: _Word
    reason: Annotated[str, Meta(max_length=LONGEST_REASON)] | None
    aliases: Annotated[tuple[Alias, ...], Meta(max_length=MOST_ALIASES)]
    removing: Annotated[tuple[Removing, ...], Meta(max_length=MOST_ALIASES)]


class Changes:
    """The changes of all models. `warn` is told once per key what lies there and is none."""

    def __init__(self, storage: Storage, warn: Callable[[str, str], object]) -> None:
        self._storage = storage
        self._warn = warn

    def latest(self, model_id: str) -> ModelChange | None:
        """Return the latest change of an id, None where nothing has changed yet.

        Raises `InvalidRequest` where it can't be read: what was true before it may not be now.
        """
        number = max(self._numbers(model_id), default=0)
        return self.read(model_id, number) if number else None

    def latest_numbers(self) -> dict[str, int]:
        """Return the number of the latest change of every id that has any."""
        numbers: dict[str, int] = {}
        for model_id, number in self._found(keys.changes(), _MOST_KEYS):
            numbers[model_id] = max(number, numbers.get(model_id, 0))
        return numbers

    def history(self, model_id: str) -> Iterator[ModelChange]:
        """Yield the changes of an id, the newest first."""
        for number in sorted(self._numbers(model_id), reverse=True):
            yield self.read(model_id, number)

    def append(self, change: ModelChange) -> bool:
        """Write a change, and return whether nobody was faster."""
        key, data = keys.change(change.id, change.number), encode_json(change)
        try:
            self._storage.create(key, data, "application/json")
        except ObjectChanged:  # it may be ours, whose answer got lost
            return self._storage.get(key).data == data
        return True

    def read(self, model_id: str, number: int) -> ModelChange:
        """Return a change; raise `InvalidRequest`."""
        key = keys.change(model_id, number)
        try:
            change = objects.read_document(self._storage, key, ModelChange, _MOST)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{error}. What {model_id} means isn't known while it lies there; "
                f"{model_id}@VERSION still is. If it isn't camfleet's, delete it"
            ) from error
        if (change.id, change.number) != (model_id, number):
            raise InvalidRequest(f"{self._storage.uri(key)} is a change of another model or number")
        return change

    def _numbers(self, model_id: str) -> list[int]:
        return [number for _, number in self._found(keys.changes(model_id), _MOST_OWN)]

    def _found(self, prefix: str, most: int) -> Iterator[tuple[str, int]]:
        for key in objects.keys_below(self._storage, prefix, most):
            if found := keys.change_at(key):
                yield found
            else:
                self._warn(key, "its name isn't that of a change")
