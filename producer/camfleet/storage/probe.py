"""What a store can do that camfleet relies on: tried with a few small objects, which go again."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from camfleet.contract.checks import Check, apart, seconds_ahead
from camfleet.errors import (
    CamfleetError,
    ObjectChanged,
    OperationUnsupported,
    StorageUnavailable,
)
from camfleet.storage.place import ABSENT
from camfleet.storage.storage import PROOF_KIND, PROOFS, Storage, Write

_WRITERS = 4
_LISTED = ("a", "b/1", "b/2", "c", "\u00e4")  # as stores sort them: by their bytes
_SECONDS = 60  # that clocks may differ

_TWICE = (
    "two workers that run the same chunk, and two submits of the same job, overwrite each other: "
    "totals and rows may differ"
)
_OVERWRITE = "retries, promotions and reviews that change the same object overwrite each other"
_PACKED = "pictures of packed jobs (--pack) can't be read one by one; single ones can"
_LISTS = "folders of images, models, jobs and what prune deletes may be listed incompletely"
_STAYS = "nothing is deleted by camfleet delete and prune"
_AGES = (
    "presigned URLs end by as much too early or too late; signatures are refused from 15 minutes on"
)


class Probe:
    """Tries a bucket."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._writes = storage.writes()
        self._prefix = f"{PROOFS}{secrets.token_hex(8)}/"
        self._numbers = count()
        self._made: list[str] = []

    def checks(self) -> Iterator[Check]:
        """Yield what is found."""
        try:
            yield self._tried("conditional writes", self._creates, _TWICE, missing=True)
            yield self._tried("conditional changes", self._replaces, _OVERWRITE, missing=True)
            yield self._tried("parts of objects", self._ranges, _PACKED, missing=False)
            yield self._tried("lists", self._lists, _LISTS, missing=True)
            yield self._tried("the store's clock", self._clock, _AGES, missing=False)
        finally:
            left = self._delete()
        yield left

    def _tried(self, what: str, attempt: Callable[[], str], costs: str, *, missing: bool) -> Check:
        """Return what an attempt finds: `_Lacks`, or an error of the store, costs something."""
        try:
            return Check(what=what, found=attempt())
        except _Lacks as lack:
            found = str(lack)
        except CamfleetError as error:
            found = f"failed: {error}"
        return Check(what=what, found=found, costs=costs, missing=missing)

    def _creates(self) -> str:
        """Write where there's nothing, twice by each library, then by several at once."""
        for write in self._writes:
            key = self._key()
            self._conditional(write, key, b"first", ABSENT)
            self._refuses(write, key, ABSENT, "If-None-Match is ignored")
        key, write = self._key(), self._writes[0]

        def wins(number: int) -> bool:
            try:
                self._conditional(write, key, b"%d" % number, ABSENT)
            except (ObjectChanged, StorageUnavailable):
                return False
            return True

        with ThreadPoolExecutor(_WRITERS) as pool:
            won = sum(pool.map(wins, range(_WRITERS)))
        if won != 1:
            raise _Lacks(f"of {_WRITERS} writers at the same time {won} were told that they won")
        return f"kept, and of {_WRITERS} writers at the same time one wins"

    def _replaces(self) -> str:
        """Change an object that is still as it was read, then as it isn't any more."""
        for write in self._writes:
            key = self._key()
            self._storage.put(key, b"first", PROOF_KIND)
            etag = self._storage.get(key).etag
            if not etag:
                raise _Lacks("objects have no ETags")
            self._conditional(write, key, b"second", etag)
            self._refuses(write, key, etag, "If-Match is ignored")
        return "kept"

    def _conditional(self, write: Write, key: str, data: bytes, etag: str) -> None:
        try:
            write(key, data, etag)
        except OperationUnsupported:
            raise _Lacks("refused by the store: camfleet writes without conditions") from None

    def _refuses(self, write: Write, key: str, etag: str, otherwise: str) -> None:
        try:
            self._conditional(write, key, b"another", etag)
        except ObjectChanged:
            return
        raise _Lacks(otherwise)

    def _ranges(self) -> str:
        key, data = self._key(), bytes(range(256)) * 16
        self._storage.put(key, data, PROOF_KIND)
        try:
            found = self._storage.get_range(key, 1000, 100)
        except OperationUnsupported:
            raise _Lacks("the whole object is sent in the place of a part") from None
        if found != data[1000:1100]:
            raise _Lacks("other bytes are sent than were asked for")
        return "read"

    def _lists(self) -> str:
        """List what was just written: whole, in order, by pages, from a key on, by folder."""
        folder = f"{self._key()}/"
        names = [folder + name for name in _LISTED]
        for name in names:
            self._put(name)
        listed = list(self._storage.keys(folder))
        pages = [key for page in self._storage.pages(folder, 2) for key in page]
        after = [found.key for found in self._storage.objects(folder, after=names[1])]
        lacks = {
            "what was just written isn't listed": set(listed) == set(names),
            "lists aren't in the order of keys": listed == names,
            "lists of several pages are incomplete": pages == names,
            "lists can't begin after a key": after == names[2:],
            "folders aren't listed": list(self._storage.folders(folder)) == [f"{folder}b/"],
        }
        self._storage.delete(names[:1])
        lacks["what was just deleted is still listed"] = names[0] not in self._storage.keys(folder)
        for lack, is_fine in lacks.items():
            if not is_fine:
                raise _Lacks(lack)
        return "complete, in order and at once"

    def _clock(self) -> str:
        ahead = seconds_ahead(self._storage.now)
        if abs(ahead) > _SECONDS:
            raise _Lacks(apart(ahead))
        return apart(ahead)

    def _key(self) -> str:
        key = f"{self._prefix}{next(self._numbers)}"
        self._made.append(key)
        return key

    def _put(self, key: str) -> None:
        self._made.append(key)
        self._storage.put(key, b"", PROOF_KIND)

    def _delete(self) -> Check:
        """Delete all that was written; a store that doesn't delete is told by what stays."""
        try:
            self._storage.delete(self._made)
            stays = any(map(self._storage.exists, self._made))
            found = "done" if not stays else "what was deleted is still there"
        except CamfleetError as error:
            found = f"failed: {error}"
        if found == "done":
            return Check(what="deleting", found=found)
        left = f"{_STAYS}, and objects of this check lie below {self._storage.uri(self._prefix)}"
        return Check(what="deleting", found=found, costs=left)


class _Lacks(Exception):
    """What a store can't do."""
