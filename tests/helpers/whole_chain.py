"""The whole chain once: a worker, our commands, Celery's, an answer and a job."""

import json
import os
import subprocess
import sys

from camfleet import Client
from helpers.processes import Worker
from helpers.samples import write_card, write_photos
from helpers.sentinels import OWN_PASSWORD


def check_the_chain(environ, folder, model):
    """Set up, explain, run a job, look at the worker by our commands and by Celery's."""
    environ = {**os.environ, **environ, "CAMFLEET_FILE_ROOTS": str(folder)}
    folder.mkdir(exist_ok=True)
    photos = write_photos(folder / "photos", 3)
    done = camfleet(environ, "setup")
    assert done.returncode == 0, done.stderr
    worker = Worker(environ, folder / "worker")
    try:
        worker.ready()
        with Client.from_environ(environ) as client:
            client.models.add(write_card(folder / "card", model), timeout=60)
            (result,) = client.explain(photos[0], model=model).result(timeout=30)
            job = client.submit(photos[0].parent, models=model)
            assert job.wait(timeout=60).ok == 3
            assert result.class_name in {row.class_name for row in job.results()}
            assert len(client.workers()) == 1
        celery = run(
            environ, "-m", "celery", "-A", "camfleet_worker", "inspect", "ping", "-t", "10"
        )
        assert "pong" in celery.stdout, celery.stderr
        conf = run(environ, "-m", "celery", "-A", "camfleet_worker", "inspect", "conf", "--json")
        assert environ["CAMFLEET_SENTINEL_MASTER"] in json.dumps(json.loads(conf.stdout))
        for text in (conf.stdout, worker.said(), celery.stdout):
            assert "data" not in text.replace("metadata", "").replace("database", "")
            assert OWN_PASSWORD not in text.replace("sentinels://", "")
    finally:
        worker.close()


def camfleet(environ, *words):
    return run(environ, "-c", "from camfleet.cli import main; main()", *words)


def run(environ, *words):
    return subprocess.run(
        [sys.executable, *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
