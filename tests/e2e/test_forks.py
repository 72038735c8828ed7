"""One client in a parent and its children: connections are never shared, nothing hangs."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from helpers.metrics import free_port
from helpers.waiting import wait_until

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("kind", "processes"), [("fork", 2), ("multiprocessing", 3), ("thread", 4)]
)
def test_children_use_the_client_and_the_handles_of_their_parent(
    kind, processes, worker_environ, model, photos
):
    done = subprocess.run(
        [sys.executable, "-m", "helpers.forking", kind, str(photos[0])],
        env={**worker_environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["ok"] * processes, done.stderr
    assert done.stderr == ""
    assert done.returncode == 0


def test_workers_of_gunicorn_share_a_client_that_was_used_before_they_were_forked(
    worker_environ, model, photos, tmp_path
):
    port = free_port()
    log = tmp_path / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "helpers.backend:app", "--preload", "-w", "2"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--threads", "4", "-b", f"127.0.0.1:{port}", "--no-control-socket"],
            env={**worker_environ, "PYTHONPATH": str(TESTS), "IMAGE": str(photos[0])},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: server.poll() is not None or b"Booting" in log.read_bytes(), 60)
        answers = [ask(port) for _ in range(8)]
        assert {answer["class"] for answer in answers} == {answers[0]["class"]}
        assert {answer["ok"] for answer in answers} == {1}
        assert server.pid not in {answer["process"] for answer in answers}
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    assert "Traceback" not in log.read_text()


def ask(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as response:
        return json.loads(response.read())
