"""Models are cut and converted in a subprocess; those that can't be are cut in the worker."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from camfleet.errors import InternalError, LayerRefused
from camfleet.registry.cards import Card, CardInput, Preprocessing
from camfleet.settings import Settings
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import subprocess as converting
from camfleet_worker.models.converted.cache import ConvertedModels
from helpers.networks import deep_head, gap_dense

KEY = ModelKey("digest", "auto", None)
START = """
import sys
from pathlib import Path
import msgspec
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker import services
from camfleet_worker.process import runtime
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels

runtime.configure(Settings())
card, path = msgspec.json.decode(sys.argv[1], type=Card), Path(sys.argv[2])
selector = EngineSelector(Settings(), ConvertedModels(Settings(), path.parent))
made = build_explainer(card, path, key=ModelKey("", "auto", None), golden=None, selector=selector)
print(made.engines[0].name, sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def saved(model, folder):
    """Save a model to a folder and return its card and path."""
    path = folder / "model.keras"
    model.save(path)
    height, width, _ = model.inputs[0].shape[1:]
    card = Card(
        id="net",
        artifact=path.name,
        input=CardInput(height=height, width=width),
        preprocessing=Preprocessing(mode="unit"),
    )
    return card, path


def built(card, path):
    settings = Settings(batch_size=4)
    selector = EngineSelector(settings, ConvertedModels(settings, path.parent))
    return build_explainer(card, path, key=KEY, golden=None, selector=selector)


def test_a_worker_loads_no_tensorflow_at_the_first_start_nor_later(tmp_path):
    card, path = saved(gap_dense(), tmp_path)
    command = [sys.executable, "-c", START, msgspec.json.encode(card), path]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "openvino []"


def test_why_a_model_is_refused_is_said_as_if_it_were_cut_here(tmp_path):
    card, path = saved(gap_dense(), tmp_path)
    with pytest.raises(LayerRefused, match="the model has no layer 'nowhere'"):
        built(msgspec.structs.replace(card, layer="nowhere"), path)


def test_what_cannot_be_kept_whole_is_cut_here_and_not_tried_again(tmp_path, monkeypatch):
    card, path = saved(deep_head(), tmp_path)
    first = built(card, path)
    monkeypatch.setattr(converting, "convert", None)
    second = built(card, path)
    assert [made.engines[0].name for made in (first, second)] == ["openvino", "openvino"]


def test_a_model_that_kills_the_process_is_an_error_and_the_worker_lives(tmp_path):
    card, path = saved(gap_dense(), tmp_path)
    killer = threading.Thread(target=kill_the_child)
    killer.start()
    with pytest.raises(InternalError, match="was killed by SIGKILL: it was out of memory, or"):
        built(card, path)
    killer.join()
    assert built(card, path).engines[0].name == "openvino"


def kill_the_child():
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for children in Path("/proc/self/task").glob("*/children"):
            for child in children.read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if converting.__name__.encode() in command:
                    os.kill(int(child), signal.SIGKILL)
                    return
        time.sleep(0.01)
