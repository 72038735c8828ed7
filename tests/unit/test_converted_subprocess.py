"""Models are cut and converted in a subprocess; those that can't be are cut in the worker."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from camfleet.errors import InternalError, LayerRefused, ModelRefused
from camfleet.registry.cards import Card, CardInput, Preprocessing
from camfleet.settings import Settings
from camfleet_worker.models import plain
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted import subprocess as converting
from camfleet_worker.models.converted.cache import ConvertedModels
from camfleet_worker.models.plain import PlainModel, Weight
from camfleet_worker.models.split import FileOrigin
from camfleet_worker.process.confined import hit_limit
from helpers.harmful_layer import save_model_that_harms_when_loaded
from helpers.networks import deep_head, gap_dense, images

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


def saved(model, folder, suffix=".keras"):
    """Save a model to a folder and return its card and path."""
    path = folder / f"model{suffix}"
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


@pytest.fixture(scope="module")
def taken_apart(tmp_path_factory):
    """Give a model that can't be kept whole: its card, its folder, and what the first start made.

    The folder was named from where the worker started.
    """
    folder = tmp_path_factory.mktemp("taken-apart")
    card, path = saved(deep_head(), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return card, folder, built(card, Path(path.name))


def test_a_model_folder_may_be_named_from_where_the_worker_started(taken_apart):
    assert taken_apart[2].engines[0].name == "openvino"


def test_what_cannot_be_kept_whole_is_cut_here_and_not_tried_again(taken_apart, monkeypatch):
    card, folder, first = taken_apart
    monkeypatch.setattr(converting, "convert", None)
    second = built(card, folder / card.artifact)
    assert [made.engines[0].name for made in (first, second)] == ["openvino", "openvino"]


def test_what_was_taken_apart_is_not_read_from_its_file_again(taken_apart, tmp_path, monkeypatch):
    card, folder, first = taken_apart
    path = shutil.copytree(folder, tmp_path / "copy") / card.artifact
    path.write_bytes(b"nothing that Keras could load")
    monkeypatch.setattr(converting.confined, "run", None)
    second = built(card, path)
    assert second.origin == first.origin
    batch = images(3, (12, 12, 3))
    np.testing.assert_allclose(first.predict(batch)[0], second.predict(batch)[0], rtol=1e-4)


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


# Builds models as a worker does, two at a time, and says of each how often its file was opened.
UNREAD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from camfleet.registry.cards import file_digest
import msgspec

sys.modules["h5py"] = None  # whoever asks for HDF5 finds that it isn't installed
opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))

from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker import services
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels


def build(case):
    name, card, path, engine = case
    path = Path(path)
    file_digest(path)
    assert opened.count(str(path)) == 1, "what opens the file is seen"
    settings = Settings(engine=engine, allow_custom_code=True)
    made = build_explainer(
        msgspec.convert(card, Card),
        path,
        key=ModelKey("", "auto", None),
        golden=None,
        selector=EngineSelector(settings, ConvertedModels(settings, path.parent)),
    )
    return name, made.engines[0].name, opened.count(str(path)), made.origin


cases = msgspec.json.decode(sys.argv[1])
with ThreadPoolExecutor(2) as pool:
    for these in (cases[:1], cases[1:]):  # the first needs no Keras
        for name, engine, times, origin in list(pool.map(build, these)):
            print(name, "|", engine, "keras" in sys.modules, times, origin)
"""
_MODES = {  # how a model is made, and what a worker has of it; those that need no Keras come first
    "converted": (gap_dense, "openvino", (), "openvino False 1"),
    "tensorflow": (gap_dense, "tensorflow", (), "tensorflow, frozen True 1"),
    "differentiated": (deep_head, "openvino", (), "openvino True 1"),
    "custom code": (gap_dense, "openvino", ("lambda",), "openvino True 1"),
}
_FIRST = [*zip(_MODES, (".keras", ".h5", ".h5", ".keras"), strict=True)]
_OTHERS = [*zip(_MODES, (".h5", ".keras", ".keras", ".h5"), strict=True)]


def opened(folder, cases):
    """Return what a worker says of models, by name, and what it wrote on stderr."""
    made = []
    for mode, suffix in cases:
        make, engine, custom, _ = _MODES[mode]
        (folder / mode).mkdir()
        card, path = saved(make(), folder / mode, suffix)
        card = msgspec.structs.replace(card, custom_code=custom)
        made.append((f"{mode}{suffix}", card, str(path), engine))
    command = [sys.executable, "-c", UNREAD, msgspec.json.encode(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.partition(" | ") for line in done.stdout.splitlines())
    return {name: said for name, _, said in lines}, done.stderr[-3000:]


@pytest.mark.parametrize(
    "cases", [_FIRST, pytest.param(_OTHERS, marks=pytest.mark.more)], ids=["first", "others"]
)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_worker_opens_a_model_file_only_to_hash_it(tmp_path, cases):
    said, stderr = opened(tmp_path, cases)
    for mode, suffix in cases:
        found = said.get(f"{mode}{suffix}", "")
        assert found.startswith(_MODES[mode][-1]), (mode, suffix, found, stderr)
        assert "'keras_version': '3." in found


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "weights.bin"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_model_taken_apart_that_was_spoilt_is_taken_apart_anew(tmp_path, name, harm, caplog):
    folder = tmp_path / "plain"
    arrays = [(Weight("float32", (2,)), np.ones(8, np.uint8))]
    plain.write(folder, PlainModel(FileOrigin("HDF5", "2.1"), {}, arrays, np.ones((1, 2))))
    assert plain.read(folder).origin == FileOrigin("HDF5", "2.1")
    path = folder / name
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if harm == "cut" else b"9" + data[1:])
    with pytest.raises((ValueError, OSError)):
        plain.read(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [{"dtype": "object", "shape": [2]}]},
        {"weights": [{"dtype": "float32", "shape": [2**40, 2**40]}]},
        {"weights": [{"dtype": "float32", "shape": [-2]}]},
        {"weights": []},
        {"logits": [3, 3]},
        {"digests": {}},
        {"more": 1},
    ],
)
def test_a_manifest_is_believed_only_what_its_files_bear_out(tmp_path, change):
    folder = tmp_path / "plain"
    arrays = [(Weight("float32", (2,)), np.ones(8, np.uint8))]
    plain.write(folder, PlainModel(FileOrigin("HDF5", "2.1"), {}, arrays, np.ones((1, 2))))
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **change}))
    with pytest.raises(ValueError, match=r"."):
        plain.read(folder)


_HARMS = {
    "memory": ("np.ones(2**36, np.uint8)", True, "needs more memory .*CAMFLEET_MODEL_LOAD_MEMORY"),
    "time": ("time.sleep(600)", True, "took longer .*CAMFLEET_MODEL_LOAD_SECONDS"),
    "network": (
        "socket.create_connection(('127.0.0.1', 9))",
        False,
        "loaded without network",
    ),
    "crash": ("ctypes.string_at(0)", True, "was ended by SIGSEGV"),
}


@pytest.fixture(scope="module")
def harmed(tmp_path_factory):
    """Give what came of loading harmful models, two at a time, and their folders, by the harm."""
    folder = tmp_path_factory.mktemp("harms")
    size = CardInput(height=12, width=10)
    requests = []
    for harm, (body, *_) in _HARMS.items():
        path = folder / harm / "model.keras"
        path.parent.mkdir()
        code = save_model_that_harms_when_loaded(path, f"harm_{harm}", body, gap_dense())
        seconds = 12 if harm == "time" else 300
        card = Card(id="net", artifact=path.name, input=size, custom_code=(code,))
        requests.append((card, path, Settings(allow_custom_code=True, model_load_seconds=seconds)))

    def load(request):
        card, path, settings = request
        selector = EngineSelector(settings, ConvertedModels(settings, path.parent))
        try:
            build_explainer(card, path, key=KEY, golden=None, selector=selector)
        except ModelRefused as error:
            return error, path.parent
        return None, path.parent

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        for _, path, _ in requests:
            patch.syspath_prepend(path.parent)
        return dict(zip(_HARMS, pool.map(load, requests), strict=True))


@pytest.mark.parametrize("harm", _HARMS)
def test_a_model_that_does_harm_when_it_is_loaded_is_refused(harmed, harm):
    _, limit, words = _HARMS[harm]
    error, folder = harmed[harm]
    assert re.search(words, str(error))
    assert hit_limit(error) == limit
    assert not list(folder.glob("camfleet-*.part")), "nothing is left behind"
