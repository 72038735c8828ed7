"""Models that do harm when they're loaded: refused with the reason, and the worker goes on."""

import json
import subprocess
import sys

import pytest

from camfleet import Client
from camfleet.errors import ModelRefused
from camfleet_worker.process.python import missing_fixes
from helpers.databases import environ_on
from helpers.harmful_layer import save_model_that_harms_when_loaded
from helpers.samples import patch_model, write_card, write_photos
from helpers.waiting import wait_until

SECONDS = 60  # for a model to load; harmless ones need a few


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return tmp_path_factory.mktemp("harm")


@pytest.fixture(scope="module")
def own_environ(worker_environ, code):
    return {
        **environ_on(worker_environ, 6),
        "CAMFLEET_ALLOW_CUSTOM_CODE": "1",
        "CAMFLEET_MODEL_LOAD_MEMORY": "2G",
        "CAMFLEET_MODEL_LOAD_SECONDS": str(SECONDS),
        "PYTHONPATH": str(code),
    }


@pytest.fixture(scope="module")
def own_client(own_environ, code):
    """Start a worker of these tests' own; give a client of it."""
    command = [sys.executable, "-m", "celery", "-A", "camfleet_worker", "worker", "-l", "INFO"]
    log = code / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=own_environ, stdout=output, stderr=output)
    try:
        with Client.from_environ(own_environ) as made:
            wait_until(made.workers, 90)
            yield made
    finally:
        process.terminate()
        process.wait(60)


def card_of(code, module, body):
    """Write a model of that harm and its card."""
    path = write_card(code / module, module)
    named = save_model_that_harms_when_loaded(code / f"{module}.keras", module, body, patch_model())
    (code / f"{module}.keras").replace(code / module / "model.keras")
    path.write_text(f'custom_code = ["{named}"]\n{path.read_text()}')
    return path


@pytest.mark.parametrize(
    ("module", "body", "words"),
    [
        ("eats", "[np.ones(2**26, np.uint8) for _ in range(2**20)]", "CAMFLEET_MODEL_LOAD_MEMORY"),
        ("crashes", "ctypes.string_at(0)", "was ended by SIGSEGV"),
        pytest.param(
            "calls",
            "socket.create_connection(('127.0.0.1', 9))",
            "loaded without network",
            marks=pytest.mark.more,
        ),
    ],
)
def test_a_worker_outlives_a_model_that_does_harm_when_it_is_loaded(
    own_client, code, folder, module, body, words
):
    (before,) = own_client.workers()
    with pytest.raises(ModelRefused, match=words):
        own_client.models.add(card_of(code, module, body), timeout=2 * SECONDS)
    own_client.models.add(write_card(code / "good", f"not-{module}"), timeout=2 * SECONDS)
    (photo,) = write_photos(folder / "hostile", 1)
    assert own_client.explain(str(photo), model=f"not-{module}").result(SECONDS)
    (after,) = own_client.workers()
    assert (after.pid, after.trouble) == (before.pid, None)


@pytest.mark.faults
def test_a_model_that_takes_too_long_is_refused_and_not_tried_again_at_once(own_client, code):
    card = card_of(code, "sleeps", "time.sleep(3600)")
    with pytest.raises(ModelRefused, match=r"longer than 60 s .* CAMFLEET_MODEL_LOAD_SECONDS"):
        own_client.models.add(card, timeout=2 * SECONDS)
    with pytest.raises(ModelRefused, match="CAMFLEET_MODEL_LOAD_SECONDS"):
        own_client.models.add(card, timeout=SECONDS / 2)  # in less time than it would take


def test_health_says_that_the_confinement_is_whole(own_client, own_environ, run):
    (worker,) = wait_until(
        lambda: [one for one in own_client.workers() if one.lacks is not None], 30
    )
    assert worker.lacks == missing_fixes()  # the kernel has all, this Python may not
    notes = json.loads(run("health", "--json", environ=own_environ).stdout)["notes"]
    assert [note.partition(": ")[2] for note in notes] == [*missing_fixes()]
