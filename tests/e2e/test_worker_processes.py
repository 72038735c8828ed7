"""`camfleet worker --processes 2`: two real workers of one command, which share a job."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import keras
import pytest

from camfleet import Client
from helpers.databases import environ_on
from helpers.metrics import Scrape, free_port
from helpers.samples import write_card
from helpers.waiting import wait_until

MODEL = "processes"
CAMFLEET = [sys.executable, "-c", "from camfleet.cli import main; main()"]


@pytest.fixture(scope="module")
def own_environ(environ, worker_environ, tmp_path_factory):
    """Give the environment of a fleet on a Redis database of its own, which keeps its models."""
    return {
        **environ_on(worker_environ, 14),
        "CAMFLEET_MODEL_DIR": str(tmp_path_factory.mktemp("models")),
        "CAMFLEET_METRICS_PORT": str(two_ports()),
        "CAMFLEET_CONCURRENCY": "1",
        "CAMFLEET_FIRST_CONCURRENCY": "0",
        "CAMFLEET_CHUNK_SIZE": "2",
    }


def two_ports():
    """Return a free port of which the next one is free, too."""
    while True:
        port = free_port()
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port


@pytest.fixture(scope="module")
def arbiter(own_environ, tmp_path_factory):
    """Start two workers by one command; give it, and its log."""
    log = tmp_path_factory.mktemp("arbiter") / "log"
    words = ["worker", "--processes", "2", "--name", "pair", "--", "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*CAMFLEET, *words], env=own_environ, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: log.read_bytes().count(b"is ready: ") == 2 or process.poll(), 120)
        assert process.poll() is None, log.read_text()
        yield process, log
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(90)


@pytest.fixture(scope="module")
def client(arbiter, own_environ):
    with Client.from_environ(own_environ) as made:
        yield made


@pytest.fixture(scope="module")
def model(client, folder):
    """Register a model with 4 MB of weights in one layer."""
    image = keras.Input((32, 48, 3))
    hidden = keras.layers.Conv2D(512, 8, strides=8, activation="relu")(image)
    maps = keras.layers.Conv2D(2048, 1, activation="relu", name="maps")(hidden)
    scores = keras.layers.Dense(2, "softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    card = write_card(folder / MODEL, MODEL, model=keras.Model(image, scores))
    return client.models.add(card, timeout=120)[0]


@pytest.fixture(scope="module")
def workers(client):
    """Give both workers' states, by name."""
    wait_until(lambda: len(client.workers()) == 2, 30)
    return client.workers()


def test_they_have_names_cores_and_metrics_of_their_own(arbiter, workers, own_environ):
    names = [worker.name.partition("@")[0] for worker in workers]
    assert names == ["pair-0", "pair-1"]
    ours = sorted(os.sched_getaffinity(0))
    share = [set(os.sched_getaffinity(worker.pid)) for worker in workers]
    if len(ours) > 1:
        assert not share[0] & share[1]
    assert set.union(*share) == set(ours)
    for worker in workers:
        port = int(own_environ["CAMFLEET_METRICS_PORT"]) + int(worker.name[5])
        assert Scrape(port).value("chunks_in_work") is not None


def test_a_job_is_both_processes_and_their_weights_are_one_mapping(client, model, photos, workers):
    job = client.submit([str(photo) for photo in photos] * 4, models=[MODEL], keep_duplicates=True)
    assert job.wait(timeout=120).complete
    assert job.verify().passed
    wait_until(lambda: all(worker.images for worker in client.workers()), 20)
    mapped = [weights(worker.pid) for worker in client.workers()]
    assert mapped[0]["files"] == mapped[1]["files"] != set()
    for found in mapped:
        assert found["rss"] > 0
        assert found["pss"] < 0.6 * found["rss"], "each page of it counts half"


def weights(pid):
    """Return which files of weights a process maps, and how much of them is there and its own."""
    found = {"files": set(), "rss": 0, "pss": 0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) > 5 else ""
            ours = name.endswith(".bin")
            if ours:
                found["files"].add(name)
        elif ours and line.startswith(("Rss:", "Pss:")):
            found[line[:3].lower()] += int(line.split()[1])
    return found


def test_one_that_is_killed_comes_back_and_all_end_when_they_are_told(
    arbiter, client, model, photos
):
    process, log = arbiter
    first, second = client.workers()
    os.kill(first.pid, signal.SIGKILL)
    job = client.submit([str(photo) for photo in photos], models=[MODEL], keep_duplicates=True)
    assert job.wait(timeout=120).complete
    wait_until(lambda: log.read_bytes().count(b"is ready: ") == 3, 90)
    assert "camfleet: worker process 0 died (signal SIGKILL" in log.read_text()
    assert os.getpgid(second.pid) == second.pid
    process.terminate()
    assert process.wait(90) == 0
    assert not Path(f"/proc/{second.pid}").exists()
    wait_until(lambda: not client.workers() or [w.pid for w in client.workers()] == [first.pid], 20)


@pytest.mark.parametrize(
    ("words", "port", "said"),
    [
        (["--processes", "0"], "0", "neither auto nor a number"),
        (["--processes", "many"], "0", "neither auto nor a number"),
        (["--gpus", "99"], "0", "there's no GPU 99"),
        (["--processes", "2"], "65535", "CAMFLEET_METRICS_PORT=65535: 2 processes take as many"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(own_environ, words, port, said):
    done = subprocess.run(
        [*CAMFLEET, "worker", *words],
        env={**own_environ, "CAMFLEET_METRICS_PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
