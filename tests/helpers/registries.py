"""Registries without workers: small cards, entries of 0.1.0, and storage that gets in the way."""

import itertools
import json
from contextlib import contextmanager

from camfleet.interactive.register import Models
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

_numbers = itertools.count()


def approve(_digest, _timeout):
    """Check a model as a worker would that finds nothing wrong with it."""
    return {"layer": "relu"}


def models_of(storage, user="ada", grace=0.0):
    """Return the registry as a producer has it; any model passes its worker's check."""
    made = Models(storage, approve, user)
    made._remover._grace = grace
    return made


def write_card(folder, model_id, version="1"):
    """Write a card and a file that stands for a model, of new content; return the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.keras").write_bytes(b"weights %d" % next(_numbers))
    path = folder / "card.toml"
    path.write_text(
        f'id = "{model_id}"\nversion = "{version}"\nartifact = "net.keras"\n'
        'labels = ["a", "b"]\n[input]\nheight = 8\nwidth = 8\n'
    )
    return path


def put_old_entry(storage, model_id, version, added_at):
    """Write an entry as 0.1.0 did, which recorded no changes; return its digest."""
    digest = f"{next(_numbers):064x}"
    entry = {"id": model_id, "version": version, "digest": digest, "added_at": added_at}
    storage.put(keys.registry(model_id, version), json.dumps(entry, indent=2).encode(), "")
    return digest


def actions(models, name):
    """Return what was done to an id: what, with which version, which alias."""
    found = list(models.history(name))
    assert [change.number for change in found] == list(range(len(found), 0, -1))
    return [(change.action, change.version, change.alias) for change in reversed(found)]


class Killed(BaseException):
    """The process is gone: nothing it still tries has an effect."""


class MortalStorage(Storage):
    """A bucket whose process is killed at its `last` write, before it or, `after`, when it's done.

    Whatever it does from then on is no more.
    """

    def __init__(self, settings, last, *, after):
        super().__init__(settings)
        self._last = last
        self._after = after
        self._writes = 0

    @contextmanager
    def _write(self):
        self._writes += 1
        if self._writes > self._last or (self._writes == self._last and not self._after):
            raise Killed
        yield
        if self._writes == self._last:
            raise Killed

    def put(self, *args):
        with self._write():
            return super().put(*args)

    def create(self, *args):
        with self._write():
            return super().create(*args)

    def delete(self, *args):
        with self._write():
            super().delete(*args)

    def upload(self, *args):
        with self._write():
            return super().upload(*args)


class OvertakenStorage(Storage):
    """A bucket in which somebody else is faster: `other` runs before anything is written there."""

    def __init__(self, settings, other, *, before="registry-changes/"):
        super().__init__(settings)
        self._others = [other]
        self._before = before

    def _overtake(self, key):
        if self._others and key.startswith(self._before):
            self._others.pop()()

    def put(self, key, *args):
        self._overtake(key)
        return super().put(key, *args)

    def create(self, key, *args):
        self._overtake(key)
        return super().create(key, *args)
