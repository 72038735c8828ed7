"""What an operator sees of a real worker: its log and its metrics."""

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from camfleet.errors import ImageNotFound
from helpers.metrics import Scrape
from helpers.waiting import wait_until

pytestmark = pytest.mark.usefixtures("model")

KEYS = {
    "time",
    "level",
    "logger",
    "process",
    "thread",
    "message",
    "job",
    "chunk",
    "image",
    "exception",
}


def lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


@contextmanager
def a_worker(environ, log, *words):
    """Run a worker by the script that can start itself anew."""
    script = Path(sys.executable).with_name("celery")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script, "-A", "camfleet_worker", "worker", *words],
            env=environ,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def test_every_line_of_a_worker_is_json_and_none_holds_the_password(worker, worker_environ):
    assert {frozenset(line) for line in lines(worker)} == {frozenset(KEYS)}
    assert urlsplit(worker_environ["CAMFLEET_REDIS_URL"]).password not in worker.read_text()
    loggers = {line["logger"] for line in lines(worker)}
    assert {"camfleet_worker.process.runtime", "celery.apps.worker"} <= loggers


def test_the_lines_of_a_job_name_its_job_chunk_and_image(client, worker, photos, folder):
    missing = folder / "missing.png"
    sources = [*photos[:4], missing]
    (folder / "watched.csv").write_text("image_uri\n" + "\n".join(map(str, sources)))
    job = client.submit(str(folder / "watched.csv"), models=["patches"])
    assert job.wait(timeout=180).failed == 1
    of_job = [line for line in lines(worker) if line["job"] == job.id]
    (failed,) = (line for line in of_job if line["image"])
    assert (failed["image"], failed["chunk"]) == (str(missing), "0:1")
    assert re.search(r"missing\.png failed", failed["message"])
    assert {line["chunk"] for line in of_job} == {"0:0", "0:1"}


def test_the_lines_of_an_interactive_request_name_its_image(client, worker, folder):
    nothing = str(folder / "nothing here.png")
    with pytest.raises(ImageNotFound):
        client.explain(nothing, model="patches").result(timeout=30)
    (line,) = (line for line in lines(worker) if line["image"] == nothing)
    assert (line["job"], line["chunk"]) == (None, None)


def test_the_metrics_count_the_images_of_jobs_and_requests(client, photos, metrics_port, model):
    def images(scrape, kind):
        of_model = {"model": f"{model.id}@{model.version}", "kind": kind, "status": "ok"}
        return scrape.value("images_total", **of_model) or 0

    before = Scrape(metrics_port)
    job = client.submit([str(photos[0].parent)], models=["patches"], target="top:2")
    assert job.wait(timeout=180).ok == 9
    client.explain(str(photos[0]), model="patches").result(timeout=30)
    after = Scrape(metrics_port)
    assert images(after, "bulk") - images(before, "bulk") == 9
    assert images(after, "interactive") - images(before, "interactive") == 1

    def grown(name, **labels):
        return after.value(name, **labels) - before.value(name, **labels)

    stages = ("fetch", "decode", "explain", "render", "store")
    assert [grown("stage_seconds_count", stage=stage) for stage in stages] == [10] * 5
    assert grown("batch_size_sum") == 10

    def answered():
        return Scrape(metrics_port).value("requests_total", kind="explain", outcome="answered")

    answers = before.value("requests_total", kind="explain", outcome="answered")
    wait_until(lambda: answered() == answers + 1, 10)  # who asked has it a moment earlier
    assert Scrape(metrics_port).value("request_seconds_sum", kind="explain") > 0
    assert after.value("model_cache_models") >= 1
    assert after.value("model_cache_bytes") > 0
    assert after.value("broker_up") == 1
    wait_until(lambda: Scrape(metrics_port).value("leases") == 0, 10)


def test_a_worker_whose_metrics_port_is_taken_stops_and_says_so(
    worker, worker_environ, metrics_port, tmp_path
):
    taken = {**worker_environ, "CAMFLEET_METRICS_PORT": str(metrics_port)}
    with a_worker(taken, tmp_path / "log", "-l", "ERROR") as process:
        assert process.wait(90) == 1
    *_, last = (tmp_path / "log").read_text().splitlines()
    assert re.search(r"CRITICAL \S+ job=- chunk=- image=- .*CAMFLEET_METRICS_PORT", last)


def test_a_worker_that_is_told_to_stop_or_start_anew_keeps_its_log(
    worker_environ, tmp_path, environ
):
    alone = {**worker_environ, "CAMFLEET_REDIS_URL": environ["CAMFLEET_REDIS_URL"][:-1] + "5"}
    log = tmp_path / "log"
    with a_worker(alone, log, "-l", "INFO") as process:
        for times, number in enumerate((signal.SIGHUP, signal.SIGTERM), 1):
            wait_until(lambda n=times: log.read_text().count(" ready.") == n, 90)
            process.send_signal(number)
        assert process.wait(60) == 0
    text = log.read_text()
    assert text.count(" starts as celery@") == 2
    assert "Warm shutdown" in text.splitlines()[-1]
    head = r"\S+Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ job=\S+ chunk=\S+ image=\S+ .*"
    assert all(re.fullmatch(head, line) for line in text.splitlines())
    assert text.count(" job=") == len(text.splitlines()), "no line is wrapped in another"


def test_a_worker_says_at_the_default_level_that_it_is_ready(worker_environ, tmp_path, environ):
    alone = {**worker_environ, "CAMFLEET_REDIS_URL": environ["CAMFLEET_REDIS_URL"][:-1] + "5"}
    log = tmp_path / "log"
    with a_worker(alone, log) as process:
        wait_until(lambda: " is ready: " in log.read_text(), 90)
        process.terminate()
        assert process.wait(60) == 0
    (line,) = (line for line in log.read_text().splitlines() if " is ready: " in line)
    assert re.search(
        r"INFO camfleet_worker\.celery \S+ \S+ \S+ camfleet \S+ worker celery@\S+ is ready: CPU, "
        r"OpenVINO, \d+ chunks and \d+ interactive requests at a time$",
        line,
    )
