"""Workers without TensorFlow: what one exports, the others load, unless a stranger changed it."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from jax import export as jax_export

from camfleet import Client
from camfleet.errors import ConfigurationError, ModelRefused
from camfleet.jobstore import keys
from camfleet.settings import Settings
from camfleet_worker.models.build import ModelKey
from camfleet_worker.models.converted import disk, forms, stablehlo
from camfleet_worker.models.converted.ir import Suspicious
from camfleet_worker.process import runtime
from helpers.databases import environ_on
from helpers.networks import deep_head, images, targets
from helpers.samples import patch_model, write_card, write_photos
from helpers.worker_services import services
from helpers.working import working

pytestmark = [
    pytest.mark.jax,
    # JAX warns whoever forks; servers and workers are started by exec.
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]
SHAPE = (32, 48, 3)
LOADED = """
import sys
from pathlib import Path
from camfleet.registry.cards import load_card
from camfleet.settings import Settings
from camfleet_worker.models.build import ModelKey, build_explainer
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.converted.cache import ConvertedModels

card = load_card(Path(sys.argv[1]) / "card.toml")
path = Path(sys.argv[1]) / "model.keras"
settings = Settings(engine="jax", batch_size=4)
made = build_explainer(
    card,
    path,
    key=ModelKey("0" * 64, "auto", None),
    golden=None,
    selector=EngineSelector(settings, ConvertedModels(settings, path.parent)),
)
print(made.engines[0].name, made.disagreement <= 1e-4)
print(sorted({"keras", "tensorflow", "openvino"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def machine(settings, tmp_path_factory):
    """Return a function that makes a worker with a disk of its own."""
    made = []

    def make(**options):
        folder = tmp_path_factory.mktemp("machine")
        own = replace(settings, engine="jax", batch_size=4, io_threads=1, model_dir=folder)
        made.append(services(replace(own, **options)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def registered(settings, worker, folder, name, model=None):
    with Client(settings) as client:
        client.models._check = lambda digest, _timeout: worker.check(digest)
        labels = json.dumps([f"class {number}" for number in range(model.output_shape[-1])])
        card = write_card(folder / name, name, model=model, labels=labels)
        return client.models.add(card, replace=True, promote=True)[0].digest


def explained(worker, digest):
    made = worker.cache.get(ModelKey(digest, "auto", None))
    assert made.engines[0].name == "jax"
    rows = made.explain(images(3, SHAPE), targets("top", 0, 1), "gradcam")
    return [explanation.raw for row in rows for explanation in row]


@pytest.fixture(scope="module")
def genuine(settings, machine, tmp_path_factory):
    """Return a model's digest, the key of its program, the container's bytes, and right answers."""
    first = machine()
    model = deep_head(classes=3, shape=SHAPE)
    digest = registered(settings, first, tmp_path_factory.mktemp("cards"), "jax-hostile", model)
    first.pools.io.submit(int).result()
    (key,) = first.storage.keys(keys.converted(digest))
    return digest, key, first.storage.get(key).data, explained(first, digest)


def test_loading_a_model_takes_neither_keras_nor_tensorflow(tmp_path):
    write_card(tmp_path, "alone", model=patch_model())
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["jax True", "[]"]


def test_another_worker_loads_what_one_has_exported_with_its_heads_gradient(
    machine, genuine, caplog
):
    digest, _, _, expected = genuine
    caplog.set_level("INFO")
    for own, right in zip(explained(machine(), digest), expected, strict=True):
        np.testing.assert_allclose(own, right, atol=1e-6)
    assert "was converted by another worker" in caplog.text


def changed(data, name, content):
    """Return a container with another file in it, otherwise right."""
    line, signature, rest = data.split(b"\n", 2)
    index, files = json.loads(line), {}
    for file in index["files"]:
        files[file["name"]], rest = rest[: file["size"]], rest[file["size"] :]
    files[name] = content(files[name]) if callable(content) else content
    index["files"] = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    return b"\n".join((json.dumps(index).encode(), signature, b"".join(files.values())))


def program_of(function, *allowed):
    checks = [jax_export.DisabledSafetyCheck.custom_call(name) for name in allowed]
    made = jax_export.export(jax.jit(function), platforms=("cpu", "cuda"), disabled_checks=checks)
    return bytes(made(jax.ShapeDtypeStruct((2,), "float32")).serialize())


CALLBACK = "xla_ffi_python_cpu_callback"


def called_back(x):
    """Call what lies at some address of the process that runs this."""
    call = jax.ffi.ffi_call(CALLBACK, jax.ShapeDtypeStruct((2,), "float32"))
    return call(x, index=np.uint64(0x41414141))


def endless(x):
    return jax.lax.while_loop(lambda y: (y < 1e30).all(), lambda y: y * 0, x)


HOSTILE = {
    "no program": ("forward.jax", b"nothing of the kind"),
    "another program": ("forward.jax", lambda _: program_of(lambda x: x + 1)),
    "a call of Python": ("forward.jax", lambda _: program_of(called_back, CALLBACK)),
    "a loop": ("gradients.jax", lambda _: program_of(endless)),
    "random numbers": (
        "forward.jax",
        lambda _: program_of(lambda x: x + jax.random.normal(jax.random.key(0), (2,))),
    ),
    "petabytes": (
        "forward.jax",
        lambda _: program_of(lambda x: jax.numpy.zeros((2**20, 2**20, 2**10)).sum() + x),
    ),
    "half of it": ("forward.jax", lambda data: data[: len(data) // 2]),
    "other weights": ("weights.bin", lambda data: b"\x7f" * len(data)),
    "too few weights": ("weights.bin", lambda data: data[:-4]),
    "weights of no type": ("weights.json", lambda data: data.replace(b"float32", b"object", 1)),
}


def downloaded(worker, digest):
    """Return where a worker has put what the bucket has converted of a model; None for nowhere."""
    store, key = worker.store, ModelKey(digest, "auto", None)
    card = store._models.card(digest)
    path = store._download(card, digest)
    folder = disk.place(path.parent, "auto", forms.JAX)
    store._bucket(card, key).download("auto", folder)
    return folder if folder.is_dir() else None


@pytest.fixture(scope="module")
def second(machine):
    return machine()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_stranger_put_there_is_not_used(second, genuine, caplog, name):
    digest, key, data, _ = genuine
    second.storage.put(key, changed(data, *HOSTILE[name]), "application/octet-stream")
    assert downloaded(second, digest) is None
    assert "can't be used, so the model is converted anew" in caplog.text


def test_what_a_program_may_not_do_is_named():
    with pytest.raises(Suspicious, match=f"it calls '{CALLBACK}'"):
        stablehlo.check(program_of(called_back, CALLBACK))
    with pytest.raises(Suspicious, match=r"operation 'stablehlo\.while'"):
        stablehlo.check(program_of(endless))


def test_with_a_key_only_what_a_key_has_signed_is_loaded(machine, genuine, caplog):
    digest, key, data, expected = genuine
    worker = machine(signing_key="k" * 32)
    worker.storage.put(key, data, "application/octet-stream")
    explained(worker, digest)
    assert "can't be used, so the model is converted anew" in caplog.text
    worker.pools.io.submit(int).result()
    caplog.clear()
    caplog.set_level("INFO")
    for own, right in zip(explained(machine(signing_key="k" * 32), digest), expected, strict=True):
        np.testing.assert_allclose(own, right, atol=1e-6)
    assert "was converted by another worker" in caplog.text


def test_a_model_with_code_of_its_own_is_refused_with_the_reason(settings, machine, tmp_path):
    worker = machine(allow_custom_code=True)
    with Client(settings) as client:
        client.models._check = lambda digest, _timeout: worker.check(digest)
        card = write_card(tmp_path, "jax-custom", custom_code='["lambda"]')
        with pytest.raises(ModelRefused, match="takes TensorFlow"):
            client.models.add(card)


def test_a_worker_process_explains_a_job_without_tensorflow(environ, tmp_path):
    own = {
        **environ_on(environ, 3),
        "CAMFLEET_ENGINE": "jax",
        "CAMFLEET_FILE_ROOTS": str(tmp_path),
        "CAMFLEET_MODEL_DIR": str(tmp_path / "models"),
    }
    log = tmp_path / "log"
    with working(own, log), Client.from_environ(own) as client:
        client.models.add(write_card(tmp_path / "card", "jax-whole"), timeout=120)
        photos = [str(path) for path in write_photos(tmp_path / "photos", 5)]
        job = client.submit(photos, models=["jax-whole"])
        job.wait(timeout=120)
        rows = list(job.results())
    assert [row.status for row in rows] == ["ok"] * 5
    assert "JAX" in log.read_text()


def test_on_a_machine_without_gpus_jax_is_never_chosen_by_itself():
    assert forms.wanted(Settings(engine="auto")) is not forms.JAX
    assert forms.wanted(Settings(engine="jax")) is forms.JAX


def test_what_is_missing_is_named_with_the_way_out():
    with pytest.raises(ConfigurationError, match=r"`worker`.*CAMFLEET_ENGINE=jax"):
        runtime.load_tensorflow(Settings())
