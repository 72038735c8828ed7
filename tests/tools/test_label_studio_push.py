"""Results that are pushed into Label Studio itself."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import msgspec
import pytest

from camfleet.contract.codec import encode_json, sealed
from camfleet.jobstore import keys, parquet
from helpers import exported
from helpers.label_studio import PROJECT
from helpers.waiting import wait_until

pytestmark = pytest.mark.tools

IMAGES, CHUNK, THERE = 10_000, 500, 1000
MOST_MIB = 200  # of a push's memory, whatever the project has
PUSH = """
import re, sys
from pathlib import Path
from camfleet.cli import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()  # ru_maxrss has the parent's too
    most = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024
    print("peak", most, "MiB", file=sys.stderr)
"""


def test_a_push_makes_tasks_once_and_gives_those_that_are_there_a_prediction(
    studio, model, client, stored, run, worker_environ
):
    project, ids = studio.project(PROJECT, [{"data": {"image": uri}} for uri in stored[:3]])
    job = client.submit(stored, models=model, shapes=["box"], pictures=[], job_id="ls-push")
    wait_until(lambda: job.status().complete, 60)
    first = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert first.returncode == 0, first.stderr
    made, written = len(stored) - 3, 3
    said = json.loads(first.stdout)
    kinds = ("project", "made", "written", "there", "doubled", "failed")
    assert [said[kind] for kind in kinds] == [project, made, written, 0, 0, 0]
    found = studio.tasks(project)
    assert [task["data"]["image"] for task in found] == stored
    again = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert json.loads(again.stdout)["there"] == len(stored)
    assert [task["predictions"] for task in studio.tasks(project)] == [
        task["predictions"] for task in found
    ]
    studio.ask("DELETE", f"/api/tasks/{ids[1]}")
    third = run("push", "label-studio", job.id, "--project", project, "--heat", "--json")
    assert (json.loads(third.stdout)["made"], json.loads(third.stdout)["there"]) == (1, 11)
    lost = {**worker_environ, "SECRET": "0" * 40}
    words = ("push", "label-studio", job.id, "--project", project, "--token-from-env", "SECRET")
    refused = run(*words, environ=lost)
    assert refused.returncode == 1
    assert "set SECRET to an access token" in refused.stderr
    nowhere = run("push", "label-studio", job.id, "--project", 999_999)
    assert "no such project" in nowhere.stderr


def uri(number):
    return f"s3://camfleet/at-size/{number}.jpg"


def made_job(storage, model, job_id):
    """Write a job of made-up results with a box each."""
    record = exported.record(
        job_id=job_id, models=(model,), target="top", items=IMAGES, chunk_size=CHUNK,
        parts=IMAGES // CHUNK,
    )  # fmt: skip
    named = {"model_id": model.id, "model_version": model.version, "model_digest": model.digest}
    row = exported.seen("", [[1, 0], [1, 0]], class_name="bright", **named)
    for ref in record.refs():
        numbers = range(ref.part * CHUNK, (ref.part + 1) * CHUNK)
        rows = [
            msgspec.structs.replace(row, item_id=f"{number}.jpg", image_uri=uri(number))
            for number in numbers
        ]
        data = parquet.write_results(rows, 0, 2)
        storage.put(keys.results_part(record, ref), data, "application/vnd.apache.parquet")
    storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")


def in_database(studio, question, project):
    """Return what Label Studio's own database answers."""
    place = f"file:{studio.folder}/label_studio.sqlite3?mode=ro"
    with closing(sqlite3.connect(place, uri=True, timeout=60)) as database:
        return database.execute(question, (project,)).fetchall()


def test_ten_thousand_images_arrive_once_though_the_first_push_is_killed(
    studio, model, client, worker_environ
):
    tasks = [{"data": {"image": uri(number)}} for number in range(THERE)]
    project, _ = studio.project(PROJECT, tasks)
    made_job(client.storage, model, "ls-at-size")
    words = [sys.executable, "-c", PUSH, "push", "label-studio", "ls-at-size", "--json"]
    words += ["--project", str(project)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    counting = "SELECT count(*) FROM task WHERE project_id = ?"
    with subprocess.Popen(words, env=worker_environ, **pipes) as first:
        some = THERE + (IMAGES - THERE) // 3
        wait_until(
            lambda: first.poll() is not None or in_database(studio, counting, project)[0][0] > some,
            300,
            pause=0.2,
        )
        assert first.poll() is None, first.stderr.read()
        first.kill()
    before = in_database(studio, counting, project)[0][0]
    assert before < IMAGES

    def push():
        done = subprocess.run(
            words, env=worker_environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert int(re.search(r"peak (\d+) MiB", done.stderr)[1]) < MOST_MIB
        return json.loads(done.stdout)

    said = push()
    assert said["made"] + said["written"] + said["there"] == IMAGES
    assert said["there"] >= THERE
    again = push()
    assert (again["there"], again["made"], again["written"], again["doubled"]) == (IMAGES, 0, 0, 0)
    found = in_database(
        studio,
        "SELECT json_extract(task.data, '$.image'), count(prediction.id), "
        "min(json_extract(prediction.result, '$[1].value.rectanglelabels[0]')) "
        "FROM task LEFT JOIN prediction ON prediction.task_id = task.id "
        "WHERE task.project_id = ? GROUP BY task.id",
        project,
    )
    assert sorted(found) == sorted((uri(number), 1, "bright") for number in range(IMAGES))
