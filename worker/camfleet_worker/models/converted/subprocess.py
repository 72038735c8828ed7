"""Loading, cutting and converting a model in a confined subprocess.

A worker never reads what somebody has uploaded. The subprocess does, and leaves either converted
models, or the model as plain data, of which the worker puts it together by itself. TensorFlow and
its memory go when the subprocess ends, the images in progress keep Python's lock to themselves
meanwhile, and a model that kills the subprocess doesn't kill the worker.
"""

import itertools
import logging
import pickle
import stat
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from camfleet.errors import InternalError, ModelRefused
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet.temporary import temporary_folder
from camfleet_worker.models import memory, openvino_engine, openvino_graph, plain
from camfleet_worker.models.converted import disk, forms, ir, stablehlo
from camfleet_worker.models.engine import EngineRefused
from camfleet_worker.models.plain import PlainModel
from camfleet_worker.models.split import Split
from camfleet_worker.process import confined
from camfleet_worker.process.runtime import configure, load_backend

logger = logging.getLogger(__name__)

_PLAIN = "plain"


class Request(NamedTuple):
    """What to load: a card's model file at these layers. The results go into `folder`."""

    card: Card
    path: Path
    layer_names: tuple[str, ...]
    settings: Settings
    folder: Path


class _Work(NamedTuple):
    """What the subprocess is asked: a request, and whether to convert."""

    request: Request
    converts: bool


class _Done(msgspec.Struct):
    """Whether all layers are converted; if not, the model is there as plain data."""

    converted: bool


def convert(request: Request) -> bool:
    """Cut and convert a model and save it to disk; return whether that worked for all its layers.

    It doesn't where OpenVINO can't run the model or Keras must differentiate its head; the model
    is then there as plain data. Raises `ModelRefused`, or `InternalError` if the subprocess was
    killed.
    """
    return _run(_Work(request, converts=True))


def load(request: Request) -> PlainModel:
    """Return a model as plain data: as an earlier call has left it, or loaded by a subprocess now.

    Raises `ModelRefused`, or `InternalError` if the subprocess was killed.
    """
    folder = plain.place(request.folder, request.card)
    try:
        found = plain.read(folder)
    except (ValueError, OSError) as error:
        logger.warning("what an earlier start kept in %s can't be used: %s", folder, error)
        plain.remove(folder)
        found = None
    if found is None:
        _run(_Work(request, converts=False))
        found = plain.read(folder)
    if found is None:
        raise InternalError(f"the process that loaded model {request.card.id} left nothing behind")
    return found


def _run(work: _Work) -> bool:
    card, folder = work.request.card, work.request.folder
    settings = work.request.settings
    form = forms.wanted(settings) or forms.OPENVINO
    own_settings = confined.without_secrets(settings)
    if form is forms.JAX:  # which the process can't tell: it sees no GPUs
        own_settings = replace(own_settings, engine=form.name)
    request = work.request._replace(path=work.request.path.absolute(), settings=own_settings)
    with temporary_folder(folder) as own:
        reply = confined.run(
            __name__,
            pickle.dumps(work._replace(request=request)),
            folder=own,
            limits=confined.limits_of(settings),
            name=card.id,
        )
        try:
            converted = msgspec.json.decode(reply, type=_Done).converted
            if converted:
                for layer_name in work.request.layer_names:
                    made = disk.place(own, layer_name, form)
                    form.check(made)
                    target = disk.place(folder, layer_name, form)
                    _take(made, target, {*form.files, *disk.SPLIT})
            else:
                _take(own / _PLAIN, plain.place(folder, card), plain.FILES)
        except (msgspec.DecodeError, OSError, ValueError, ir.Suspicious) as error:
            if work.converts:  # the worker then does without
                logger.warning("model %s isn't kept as converted: %s", card.id, error)
                return False
            raise InternalError(f"model {card.id} can't be kept in {folder}: {error}") from error
    return converted


def _take(made: Path, target: Path, names: Collection[str]) -> None:
    """Move a folder of regular files to its place, unless another process was faster.

    Raises `ValueError` for a folder that holds anything else.
    """
    if not stat.S_ISDIR(made.lstat().st_mode):
        raise ValueError(f"{made.name} is not a folder")
    for path in made.iterdir():
        if path.name not in names or not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError(f"{path.name[:80]!r} doesn't belong there")
    if disk.is_filled(target):
        return
    disk.remove(target)
    made.rename(target)


# From here on: what happens in the subprocess.


def answer(request: bytes) -> _Done:
    """Do what the worker asks for."""
    (card, path, layer_names, settings, _), converts = pickle.loads(request)  # noqa: S301  # ours
    configure(settings)
    load_backend(settings)
    from camfleet_worker.models.tf.from_file import cut_and_take_apart

    splits, take_apart = cut_and_take_apart(card, path, layer_names, settings)
    folder = Path.cwd()
    if settings.engine == forms.JAX.name:
        if converts and _export(splits, layer_names, folder):
            return _Done(converted=True)
    elif converts and all(map(disk.has_closed_form, splits)):
        from camfleet_worker.models.tf import conversion

        try:
            models = [conversion.from_split(split) for split in splits]
            splits = [
                _measured(card, split, model, settings)
                for split, model in zip(splits, models, strict=True)
            ]
        except ModelRefused:
            raise
        except Exception:  # noqa: BLE001  # the worker tries again, and logs why it can't
            models = []
        places = (disk.place(folder, layer_name) for layer_name in layer_names)
        if models and all(itertools.starmap(disk.save, zip(splits, models, places, strict=True))):
            return _Done(converted=True)
    plain.write(folder / _PLAIN, take_apart())
    return _Done(converted=False)


def _export(splits: Sequence[Split], layer_names: Sequence[str], folder: Path) -> bool:
    """Write splits as programs of JAX; return whether that worked for all of them.

    Where nothing else could run the model, raise `ModelRefused`.
    """
    from camfleet_worker.models.tf import export

    try:
        programs = [export.from_split(split) for split in splits]
        for made in programs:
            stablehlo.check(made.forward)
            stablehlo.check(made.gradients)
    except (EngineRefused, ir.Suspicious) as error:
        if find_spec("tensorflow") is None:
            raise ModelRefused(f"the model can't run in JAX: {error}") from error
        logger.warning("a model is left to TensorFlow: %s", error)
        return False
    places = (disk.place(folder, layer_name, forms.JAX) for layer_name in layer_names)
    return all(
        disk.save(split, made, place, forms.JAX)
        for split, made, place in zip(splits, programs, places, strict=True)
    )


def _measured(card: Card, split: Split, model: object, settings: Settings) -> Split:
    """Return a split with what one image takes in OpenVINO; raise `ModelRefused` for too much."""
    with memory.named(card):
        memory.check(openvino_graph.graph_bytes(model), memory.while_running(settings))
    graph = openvino_engine.run_once(model)
    return replace(split, costs=split.costs._replace(graph=graph))
