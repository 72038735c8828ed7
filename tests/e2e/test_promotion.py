"""Versions of a model against a real worker: promoted while a job runs and requests come."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest

from camfleet_worker.models.names import SECONDS
from helpers.samples import patch_model, write_card, write_photos

REQUESTS = 200
THREADS = 4


@pytest.fixture(scope="module")
def cards(folder):
    """Return the cards of three versions of one model."""
    return {
        version: write_card(
            folder / f"promoted-{version}", "promoted", model=patch_model(), version=f'"{version}"'
        )
        for version in ("1", "2", "3")
    }


@pytest.fixture(scope="module")
def refs(client, cards):
    return {version: client.models.add(cards[version], timeout=240)[0] for version in ("1", "2")}


def test_a_promotion_while_a_job_runs_and_requests_come_fails_nothing(client, refs, photos, folder):
    """Each thread's answers switch once; a job keeps its version; the bound that is documented."""
    for ref in refs.values():  # both are loaded, so that the requests come in quick succession
        client.explain(photos[0], model=ref).result(timeout=60)
    job = client.submit(
        write_photos(folder / "promoted-photos", 40), models="promoted", pictures=[]
    )
    answered, promoted_at = [], []
    lock, begun = threading.Lock(), threading.Event()

    def ask(_thread):
        seen = []
        while len(seen) < REQUESTS // THREADS or not seen[-1][1].startswith("2 "):
            sent_at = time.monotonic()
            (row,) = client.explain(photos[0], model="promoted", pictures=[]).result(timeout=60)
            assert row.status == "ok"
            seen.append((sent_at, f"{row.model_version} {row.model_digest}"))
            with lock:
                answered.append(seen[-1])
                if len(answered) >= REQUESTS // 4:
                    begun.set()
        return [version for _, version in seen]

    with ThreadPoolExecutor(THREADS) as pool:
        asking = [pool.submit(ask, thread) for thread in range(THREADS)]
        assert begun.wait(60)
        client.models.promote(refs["2"], reason="a test")
        promoted_at.append(time.monotonic())
        lists = [future.result(120) for future in asking]
    assert sum(map(len, lists)) >= REQUESTS
    one, two = (f"{ref.version} {ref.digest}" for ref in refs.values())
    assert [[version for version, _ in groupby(seen)] for seen in lists] == [[one, two]] * THREADS
    late = [sent for sent, version in answered if version == one and sent > promoted_at[0]]
    assert max(late, default=promoted_at[0]) <= promoted_at[0] + SECONDS
    assert job.wait(timeout=120).ok == 40
    assert {(row.model_version, row.model_digest) for row in job.results()} == {
        (refs["1"].version, refs["1"].digest)
    }
    after = client.submit(photos, models="promoted", pictures=[])
    assert [ref.version for ref in after.record().models] == ["2"]


def test_commands_say_what_is_promoted_by_whom_and_why(run, refs, cards, worker_environ):
    done = run("models", "promote", "promoted@1")
    assert done.returncode == 0, done.stderr
    environ = {**worker_environ, "CAMFLEET_USER": "ada"}
    done = run("models", "promote", "promoted@2", "--reason", "better on roses", environ=environ)
    assert done.stdout == "promoted means version 2 now, before: version 1\n"
    assert run("models", "promote", "promoted@2").stdout == "promoted means version 2 already\n"
    done = run("models", "rollback", "promoted")
    assert done.stdout == "promoted means version 1 now, before: version 2\n"
    done = run("models", "promote", "promoted@2", "--alias", "candidate", "--json")
    assert json.loads(done.stdout) == {
        "id": "promoted",
        "version": "2",
        "digest": refs["2"].digest,
        "alias": "candidate",
        "before": None,
    }
    listed = json.loads(run("models", "list", "--json").stdout)
    named = {each["version"]: each["aliases"] for each in listed if each["id"] == "promoted"}
    assert named == {"1": ["champion"], "2": ["candidate"]}
    history = json.loads(run("models", "history", "promoted", "--json").stdout)
    assert [each["action"] for each in history][:3] == ["promoted", "rolled back", "promoted"]
    assert (history[2]["user"], history[2]["reason"]) == ("ada", "better on roses")
    table = run("models", "history", "promoted").stdout
    assert "better on roses" in table
    assert " ada " in table
    assert "promoted (candidate)" in table
    shown = run("models", "show", "promoted@candidate")
    assert shown.stdout.startswith("# promoted@2: candidate\n")


def test_a_version_is_added_aliased_and_removed_by_commands(run, refs, cards, client):
    done = run("models", "add", cards["3"], "--alias", "canary", "--reason", "nightly")
    assert done.returncode == 0, done.stderr
    assert "version 3 is registered; promoted means version 1 as before (camfleet" in done.stdout
    done = run("models", "remove", "promoted@3", "--json")
    assert done.returncode == 1
    assert "canary names promoted@3" in json.loads(done.stdout)["error"]["message"]
    done = run("models", "unalias", "promoted@canary")
    assert done.stdout == "promoted@canary named version 3, and names nothing now\n"
    done = run("models", "remove", "promoted@3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("promoted@3 is removed: ")
    assert not list(client.storage.keys("registry/promoted/3"))
    done = run("explain", "x.png", "--model", "promoted@3")
    assert "no version '3', only 1, 2" in done.stderr


def test_a_request_by_an_alias_names_its_version(run, client, refs, photos):
    client.models.promote(refs["2"], alias="tried")
    (row,) = client.explain(photos[0], model="promoted@tried", pictures=[]).result(timeout=60)
    assert (row.model_version, row.model_digest) == ("2", refs["2"].digest)
