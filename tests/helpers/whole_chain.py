"""The whole chain once: a worker, our commands, Celery's, an answer and a job."""

import json
import os
import subprocess
import sys

from camfleet import Client
from camfleet.gateway.access.tokens import Tokens
from helpers.commands import camfleet
from helpers.gateway import gateway
from helpers.processes import Worker
from helpers.samples import write_card, write_photos
from helpers.sentinels import OWN_PASSWORD, PASSWORD
from helpers.waiting import wait_until


def check_the_chain(environ, folder, model):
    """Set up, explain, run a job, look at the worker by our commands and by Celery's."""
    environ = {**os.environ, **environ, "CAMFLEET_FILE_ROOTS": str(folder)}
    folder.mkdir(exist_ok=True)
    photos = write_photos(folder / "photos", 3)
    done = camfleet("setup", environ=environ)
    assert done.returncode == 0, done.stderr
    worker = Worker(environ, folder / "worker")
    try:
        worker.ready()
        with Client.from_environ(environ) as client:
            client.models.add(write_card(folder / "card", model), timeout=240)
            (result,) = client.explain(photos[0], model=model).result(timeout=30)
            job = client.submit(photos[0].parent, models=model)
            assert job.wait(timeout=180).ok == 3
            assert result.class_name in {row.class_name for row in job.results()}
            wait_until(lambda: len(client.workers()) == 1, 60)  # an earlier one may be remembered
            node = client.workers()[0].name.rpartition(":")[0]  # without the process's number
            key = f"{model}/photo.png"
            client.storage.put(key, photos[0].read_bytes(), "image/png")
            token = Tokens(client.storage).create("ann", ("explain", "jobs:read"), 1)[0]
            check_the_gateway(environ, folder, token, model, client.storage.uri(key))
        inspect = ("-m", "celery", "-A", "camfleet_worker", "inspect", "-d", node, "-t", "10")
        celery = run(environ, *inspect, "ping")
        assert "pong" in celery.stdout, celery.stderr
        conf = run(environ, *inspect, "conf", "--json")
        assert environ["CAMFLEET_SENTINEL_MASTER"] in json.dumps(json.loads(conf.stdout))
        for text in (conf.stdout, worker.said(), celery.stdout):
            assert PASSWORD.partition(";")[0] not in text
            assert OWN_PASSWORD not in text.replace("sentinels://", "")
    finally:
        worker.close()


def check_the_gateway(environ, folder, token, model, uri):
    """Ask a gateway for an answer, for a job's events, and as a session of the page."""
    with gateway(environ, folder, token) as web:
        assert web.ask("GET", "/readyz").status == 200
        answer = web.ask("POST", "/v1/explain", {"image": uri, "model": model})
        assert answer.status == 200, answer.body
        own = {"Sec_Fetch_Site": "same-origin"}
        entered = web.ask("POST", "/v1/session", {"token": token}, token="", **own)
        cookie = entered.headers["set-cookie"].partition(";")[0]
        jobs = web.ask("GET", "/v1/jobs", token="", Cookie=cookie, **own)
        assert jobs.status == 200, jobs.body


def run(environ, *words):
    return subprocess.run(
        [sys.executable, *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
