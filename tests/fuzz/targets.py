"""What a victim does with an input, by the target's name."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from camfleet.errors import CamfleetError
from camfleet.registry.cards import CardInput, Preprocessing
from camfleet_worker.pictures.load import Wanted

Target = Callable[[bytes], object]

MAX_PIXELS = 4_000_000
QUICK_SECONDS = 0.5  # what a worker decodes itself takes no longer
# What a target may do that others may not.
OWN: dict[str, tuple[str, ...]] = {
    "urls": ("socket.getaddrinfo",),
    "decoders": ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec"),
}


def load(name: str, folder: Path) -> Target:
    """Return a target, with what it needs imported."""
    return _LOADERS[name](folder)


def _wanted(data: bytes) -> Wanted:
    """Return what is asked of a picture: now decoded whole, now reduced."""
    how: Any = ("whole", "reduced")[len(data) % 2]
    return Wanted(CardInput(height=32, width=48, decode=how), Preprocessing(mode="unit"), 0)


def _pictures(_: Path) -> Target:
    from camfleet_worker.pictures.cost import Slow
    from camfleet_worker.pictures.load import load

    def run(data: bytes) -> None:
        """Decode a picture as a worker does itself, or leave it to a process apart."""
        with suppress(Slow):
            found = load(data, _wanted(data), max_pixels=MAX_PIXELS, uri="u", seconds=QUICK_SECONDS)
            assert found.pixels.shape == (32, 48, 3)

    return run


def _decoders(_: Path) -> Target:
    from camfleet.settings import Settings
    from camfleet_worker.pictures.decoders import Decoders

    settings = Settings(max_image_pixels=MAX_PIXELS, decode_seconds=2.0)
    decoders = Decoders(settings, 1)

    def run(data: bytes) -> None:
        """Decode a picture, whatever that takes."""
        assert decoders.load(data, _wanted(data), uri="u").pixels.shape == (32, 48, 3)

    return run


def _cards(folder: Path) -> Target:
    from camfleet.registry.cards import load_card, parse_card, to_toml

    def run(data: bytes) -> None:
        """Read a card, which is followed by a zero byte and its labels file."""
        card, _, labels = data.partition(b"\0labels\0")
        (folder / "card.toml").write_bytes(card)
        (folder / "labels.txt").write_bytes(labels)
        found = load_card(folder / "card.toml")
        assert parse_card(to_toml(found).decode(), "again") == found

    return run


def _manifests(folder: Path) -> Target:
    import pyarrow.parquet  # noqa: F401  # which sets variables and loads libraries

    from camfleet.contract.codec import decode_json, encode_json
    from camfleet.contract.records import Item
    from camfleet.sources.sources import items

    def run(data: bytes) -> None:
        """Read a manifest, after a line that says its suffix and the columns to keep."""
        head, _, text = data.partition(b"\n")
        suffix, keep = json.loads(head)
        path = folder / f"manifest{suffix}"
        path.write_bytes(text)
        for item in items(str(path), None, keep=keep):  # type: ignore[arg-type]  # not needed
            assert decode_json(encode_json(item), Item) == item

    return run


def _parts(_: Path) -> Target:
    from camfleet.jobstore import parquet

    readers = [parquet.read_manifest, parquet.read_results, parquet.prove_readable]
    readers += [parquet.read_images]

    def run(data: bytes) -> None:
        """Read a part of a job, after a byte that says how."""
        readers[data[0]](data[1:])

    return run


def _messages(_: Path) -> Target:
    from camfleet.cli import review_rows
    from camfleet.contract import codec, follow_ups, messages, records, reviews
    from camfleet.contract.targets import parse_inputs, parse_layers, parse_target
    from camfleet.registry import changes
    from camfleet.reviews import repeating

    kinds = {
        kind.__name__: kind
        for module in (messages, records, follow_ups, reviews, changes)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, codec.Wire)
    }

    def run(data: bytes) -> None:
        """Decode a message or document, after a line that names its kind, and use it."""
        name, _, text = data.partition(b"\n")
        kind = kinds[name.decode()]
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):  # Celery has given up on it by then
            given = None
        with suppress(CamfleetError):
            use(codec.decode(given, kind))
        if issubclass(kind, codec.Document):
            codec.decode_document(text, kind)
        found = codec.decode_json(text, kind)
        assert codec.decode_json(codec.encode_json(found), kind) == found
        use(found)

    def use(found: object) -> None:
        if isinstance(found, reviews.ReviewChange) and found.review.schedule:
            found.review.schedule.check()
        if isinstance(found, reviews.ReviewState) and found.trouble:
            repeating.in_words(found.trouble)
            repeating.next_attempt(found.trouble)
        if isinstance(found, reviews.ReviewVerdict | reviews.ReviewChange | reviews.Trouble):
            review_rows.entry(found)
        if isinstance(found, messages.ExplainRequest):
            parse_target(found.target)
            parse_layers(found.layer)
            parse_inputs(found.inputs)

    return run


def _configurations(_: Path) -> Target:
    from camfleet_worker.models.files.allowed import WITHHELD
    from camfleet_worker.models.files.bounds import parse
    from camfleet_worker.models.files.configuration import rebuild

    def run(data: bytes) -> None:
        """Rebuild a configuration; what comes out names nothing that is withheld."""
        todo = [rebuild(parse(data, "net"), "net")]
        while todo:
            found = todo.pop()
            if isinstance(found, dict):
                name, module = found.get("class_name"), found.get("module") or "keras"
                assert name not in (*WITHHELD, "Lambda", "function", "__lambda__"), found
                assert str(module).partition(".")[0] in ("keras", "builtins"), found
                todo += found.values()
            elif isinstance(found, list | tuple):
                todo += found

    return run


def _models(folder: Path) -> Target:
    from camfleet_worker.models.tf.loader import load_keras

    def run(data: bytes) -> None:
        """Load a model file, after a line with its suffix."""
        suffix, _, content = data.partition(b"\n")
        path = folder / f"net{suffix.decode()}"
        path.write_bytes(content)
        load_keras(path)

    return run


def _urls(folder: Path) -> Target:
    from tests.fuzz.web import reader

    return reader(folder)


def _orders(folder: Path) -> Target:
    import os
    import socket
    import subprocess
    import time

    from camfleet.errors import InternalError, InvalidRequest

    names = {"os": os, "socket": socket, "subprocess": subprocess, "time": time, "folder": folder}
    names |= {"InternalError": InternalError, "InvalidRequest": InvalidRequest}

    def run(data: bytes) -> None:
        """Do what an input says, to see whether that is seen."""
        exec(data, dict(names))

    return run


_LOADERS: dict[str, Callable[[Path], Target]] = {
    "pictures": _pictures,
    "decoders": _decoders,
    "cards": _cards,
    "manifests": _manifests,
    "parts": _parts,
    "messages": _messages,
    "configurations": _configurations,
    "models": _models,
    "urls": _urls,
    "orders": _orders,
}
