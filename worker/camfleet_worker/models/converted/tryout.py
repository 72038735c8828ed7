"""Trying out a stranger's converted model in a process of its own, which may die of it.

OpenVINO believes its files: one can crash it, or make it take all memory. What passes here does the
same in the worker afterwards: nothing in a model that `ir` lets pass depends on chance.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from camfleet.errors import ModelRefused
from camfleet.settings import Settings
from camfleet.temporary import temporary_folder
from camfleet_worker.models import jax_engine, memory, openvino_engine, openvino_graph, program
from camfleet_worker.models.agreement import accept
from camfleet_worker.models.converted import disk, forms
from camfleet_worker.models.converted.forms import Form
from camfleet_worker.models.converted.ir import Suspicious
from camfleet_worker.models.engine import EngineRefused
from camfleet_worker.models.memory import TooLarge
from camfleet_worker.models.openvino_engine import OpenVINO
from camfleet_worker.process import confined
from camfleet_worker.process.confinement import Limits

_SECONDS = 120.0
_MEMORY = 2**31  # bytes, besides what depends on the model and the machine
_STACKS = 2**26  # bytes of OpenVINO's threads, for each core


class _Request(msgspec.Struct):
    folder: str
    threads: int
    memory: int
    form: str = forms.OPENVINO.name


def try_out(folder: Path, settings: Settings, name: str) -> int:
    """Load and run the model in `folder` in a confined process; raise what it raises.

    Returns how many bytes its operations' results take for one image, as measured there. If there's
    a split, the model must agree with its trial. `name` is the model's, for errors.
    """
    form = forms.wanted(settings) or forms.OPENVINO
    asked = _Request(str(folder), settings.cpu_threads, settings.model_run_memory, form.name)
    request = msgspec.json.encode(asked)
    with temporary_folder() as own:
        reply = confined.run(
            __name__, request, folder=own, limits=_limits(folder, settings, form), name=name
        )
    return msgspec.json.decode(reply, type=int)


def _limits(folder: Path, settings: Settings, form: Form) -> Limits:
    """Return what a model of that size may need."""
    size = sum((folder / name).stat().st_size for name in disk.files(folder, form))
    memory = _MEMORY + 8 * size + _STACKS * (os.cpu_count() or 1)
    most = confined.limits_of(settings)
    return Limits(min(memory, most.memory), min(_SECONDS, most.seconds))


def answer(request: bytes) -> int:
    """Do what `try_out` asks for, within the process."""
    asked = msgspec.json.decode(request, type=_Request)
    folder = Path(asked.folder)
    settings = Settings(cpu_threads=asked.threads, model_run_memory=asked.memory)
    if asked.form == forms.JAX.name:
        return _try_jax(folder, replace(settings, engine=asked.form))
    try:
        openvino_graph.check_shapes(openvino_engine.read(folder))
        needed = openvino_graph.graph_bytes(openvino_engine.read(folder))
        memory.check(needed, memory.while_running(settings))
    except TooLarge as error:
        raise ModelRefused(f"it {error.message}") from error
    except (RuntimeError, ValueError) as error:
        raise ModelRefused(str(error)[:300]) from error
    taken = openvino_engine.run_once(openvino_engine.read(folder))
    split = disk.load(folder)
    if split is None:
        return taken
    try:
        engine = OpenVINO.for_split(split, partial(openvino_engine.read, folder), settings)
        accept(engine, split, split.tolerance)
    except (EngineRefused, RuntimeError, ValueError) as error:
        raise ModelRefused(str(error)[:300]) from error
    return taken


def _try_jax(folder: Path, settings: Settings) -> int:
    """Do the same with a program of JAX, whose engine itself looks at the shapes."""
    split = disk.load(folder, forms.JAX)
    if split is None:
        raise ModelRefused("it has no split")
    try:
        forms.JAX.check(folder)
        engine = jax_engine.JAX(split, program.read(folder), settings)
        accept(engine, split, split.tolerance)
    except TooLarge as error:
        raise ModelRefused(f"it {error.message}") from error
    except (EngineRefused, Suspicious, RuntimeError, ValueError) as error:
        raise ModelRefused(str(error)[:300]) from error
    return split.costs.graph
