"""The report on a model: whether it can be explained, at which layer, and why.

`python -m camfleet_worker.models.model_report MODEL [--card CARD] [--image FILE]` prints it as JSON
and needs no server; `camfleet models check` runs that and presents the result. The model is loaded
in a confined process.
"""

import argparse
import json
import os
import pickle
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camfleet.errors import (
    CamfleetError,
    ImageNotFound,
    InternalError,
    ModelRefused,
)
from camfleet.registry import cards
from camfleet.registry.cards import Card, CardInput
from camfleet.registry.choices import card_choices
from camfleet.registry.model_files import check_model_file
from camfleet.settings import Settings
from camfleet.temporary import temporary_folder
from camfleet_worker.models.cam import GRADIENT_METHODS
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.golden import predict_file
from camfleet_worker.models.maps import rank_classes
from camfleet_worker.process import confined

_ROUNDS = 3
_LONG = 1000.0  # milliseconds
_TOP = 5  # classes of a picture
_BATCH = "4"  # unless the environment says otherwise
_NO_SERVERS = {"CAMFLEET_REDIS_URL": "redis://none", "CAMFLEET_BUCKET": "none"}


def preflight(explainer: Explainer) -> dict[str, Any]:
    """Return everything known about a built model as plain data. Times are in milliseconds."""
    split = explainer.split
    return {
        "id": explainer.card.id,
        "version": explainer.card.version,
        "choices": [choice._asdict() for choice in card_choices(explainer.card)],
        **explainer.origin,
        "input": list(explainer.shape),
        "other_inputs": [
            {"name": extra.name, "shape": list(extra.shape), "dtype": extra.dtype}
            for extra in split.extras
        ],
        "layer": explainer.layer,
        "why": _why(explainer),
        "grid": [split.layer.height, split.layer.width],
        "channels": split.layer.channels,
        "candidates": [
            {"path": layer.path, "grid": [layer.height, layer.width], "channels": layer.channels}
            for layer in split.candidates
        ],
        "head": list(split.head_layers),
        "covers": _covers(explainer),
        "assumed": list(split.placement.assumed),
        "ending": split.ending,
        "activation": split.activation,
        "outputs": {"reason": split.outputs.reason, "guessed": split.outputs.guessed},
        "classes": split.classes,
        "methods": [*GRADIENT_METHODS, *(["cam"] if split.cam_weights is not None else [])],
        "cam": split.cam_reason or "holds",
        "split_error": split.error,
        "conv_bytes": split.conv_bytes,
        "head_bytes": split.head_bytes,
        "image_bytes": sum(engine.room.image_bytes for engine in explainer.engines),
        "working_bytes": explainer.working_bytes,
        "batch_size": explainer.batch_size,
        "engine": explainer.engines[0].name,
        "engine_disagreement": explainer.disagreement,
        "milliseconds_per_image": _times(explainer),
    }


def _covers(explainer: Explainer) -> list[float] | None:
    """Return top, bottom, left and right of the grid in the input; None where it's all of it."""
    height, width, _ = explainer.shape
    found = explainer.split.placement.extents((height, width))
    return None if found == (0, height, 0, width) else [round(edge, 2) for edge in found]


def _why(explainer: Explainer) -> str:
    if explainer.card.layer_text != "auto":
        return "the card names it"
    last = explainer.split.candidates[-1].path
    return f"the last of {len(explainer.split.candidates)} tensors with a grid: {last}"


def _times(explainer: Explainer) -> dict[str, float]:
    """Return the time per image of the forward pass and of the head's gradient, in a batch."""
    size = explainer.batch_size
    images = np.zeros((size, *explainer.shape), np.float32)
    extras = tuple(extra.trial(size) for extra in explainer.split.extras)
    engine = explainer.engines[0]
    maps, _ = engine.forward(images, extras)
    classes = np.zeros(size, np.int32)
    return {
        "forward": _median(lambda: engine.forward(images, extras)) / size,
        "head_gradient": _median(lambda: engine.gradients(maps, classes, extras)) / size,
    }


def _median(work: Callable[[], object]) -> float:
    """Return the median time of a few runs, in milliseconds; of one where it's long."""
    rounds: list[float] = []
    while len(rounds) < _ROUNDS and sum(rounds) < _LONG:
        start = time.perf_counter()
        work()
        rounds.append((time.perf_counter() - start) * 1e3)
    return round(statistics.median(rounds), 3)


def main() -> int:
    """Print a report, or {"error": ...}, as JSON; return 0 if the model can be explained."""
    parser = argparse.ArgumentParser(prog="python -m camfleet_worker.models.model_report")
    parser.add_argument("path", type=Path)
    parser.add_argument("--card", type=Path)
    parser.add_argument("--image", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    try:
        report = _check_confined(arguments.path, arguments.card, arguments.image)
    except CamfleetError as error:
        json.dump({"error": {"code": error.code, "message": error.message}}, sys.stdout)
        return 1
    except Exception as error:  # noqa: BLE001  # it must reach whoever reads the JSON
        traceback.print_exc()
        message = f"a bug of camfleet, please report it: {type(error).__name__}: {str(error)[:300]}"
        json.dump({"error": {"code": InternalError.code, "message": message}}, sys.stdout)
        return 1
    json.dump(report, sys.stdout)
    return 0


def _check_confined(path: Path, card: Path | None, images: list[Path]) -> dict[str, Any]:
    settings = confined.without_secrets(read_settings(os.environ))
    absolute = [image.absolute() for image in images]
    with temporary_folder() as folder:
        reply = confined.run(
            "camfleet_worker.models.model_report",
            pickle.dumps((path.absolute(), card and card.absolute(), absolute, settings)),
            folder=folder,
            limits=confined.limits_of(settings),
            name=path.name,
        )
    report: dict[str, Any] = json.loads(reply)
    named = path if path.suffix == ".toml" else card
    report["card"] = str(named) if named else None  # as they were given
    for image, shown in zip(images, report.get("images", ()), strict=True):
        shown["path"] = str(image)
    if images:
        report["image"] = report["images"][0]  # all that version 0.1.0 said
    return report


def answer(request: bytes) -> dict[str, Any]:
    """Return the report, in the confined process."""
    return check(*pickle.loads(request))  # noqa: S301  # ours


def check(
    path: Path,
    card_path: Path | None,
    images: Sequence[Path] = (),
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Return the report on a card, or on a model file with or without one.

    The report has the top classes of `images`, too, on which what bf16 costs is also measured. The
    model is loaded in this process.
    """
    from camfleet_worker.models.build import ModelKey, build_exact
    from camfleet_worker.models.choose import EngineSelector
    from camfleet_worker.models.precision import computed_here, costs_of
    from camfleet_worker.process.runtime import configure, load_backend

    settings = settings or read_settings(os.environ)
    configure(settings)
    load_backend(settings)
    if path.suffix == ".toml":
        card_path, card = path, cards.load_card(path)
        path = cards.artifact_path(card, path.parent, path.name)
    else:
        check_model_file(path)
        card = cards.load_card(card_path) if card_path else _plain_card(path)
    golden = cards.read_golden(card, card_path.parent, card_path.name) if card_path else None
    exact = build_exact(
        card,
        path,
        key=ModelKey("", "auto", None),
        golden=golden,
        selector=EngineSelector(settings),
        confined=True,
    )
    files = [_read(image) for image in images]
    shown = [
        {"path": str(image), "classes": _top_classes(exact.explainer, data, image, settings)}
        for image, data in zip(images, files, strict=True)
    ]
    said = cards.said_fields(card_path) if card_path else frozenset[str]()
    return {
        **preflight(exact.explainer),
        **costs_of(exact, golden, files, computed_here(settings)),
        "choices": [choice._asdict() for choice in card_choices(card, said)],
        "card": str(card_path) if card_path else None,
        **({"image": shown[0], "images": shown} if shown else {}),
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the environment's settings; those that only matter with servers needn't be there."""
    servers = ("CAMFLEET_SENTINEL_", *_NO_SERVERS)
    given = {name: value for name, value in environ.items() if value}
    given = {name: value for name, value in given.items() if not name.startswith(servers)}
    return Settings.from_environ({"CAMFLEET_BATCH_SIZE": _BATCH, **given, **_NO_SERVERS})


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise ImageNotFound(f"{image} can't be read: {error}") from error


def _top_classes(
    explainer: Explainer, data: bytes, image: Path, settings: Settings
) -> list[dict[str, Any]]:
    """Return what the model says of an image file, the highest classes first."""
    logits, chances = predict_file(explainer, data, settings, uri=str(image), confined=True)
    ranked = rank_classes(logits, chances if explainer.split.activation == "joined" else None)
    return [
        {
            "class_index": int(index),
            "class_name": explainer.card.class_name(int(index)),
            "probability": None if chances is None else float(chances[index]),
            "logit": float(logits[index]),
        }
        for index in ranked[:_TOP]
    ]


def _plain_card(path: Path) -> Card:
    """Return a card for a bare model file: its own input size, no preprocessing, no labels."""
    from camfleet_worker.models.tf.loader import load_keras
    from camfleet_worker.models.tf.signature import SUBCLASSED, picture_of

    inputs = getattr(load_keras(path), "inputs", None) or []
    if not inputs:
        raise ModelRefused(f"{path.name} has no defined input: {SUBCLASSED}")
    shape = tuple(picture_of(inputs).shape[1:])
    if len(inputs) > 1 or None in shape:
        raise ModelRefused(
            f"{path.name} has inputs {[tuple(tensor.shape) for tensor in inputs]}: give --card "
            "with the input's height, width and color"
        )
    size = CardInput(height=shape[0], width=shape[1], color="gray" if shape[2] == 1 else "rgb")
    return Card(id=path.stem, artifact=path.name, input=size)


if __name__ == "__main__":
    sys.exit(main())
