"""A list of many jobs: searched to its end, shown piece by piece, kept up to date."""

from contextlib import closing
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from browser.conftest import ALL
from camfleet.broker import keys
from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from helpers import rows
from helpers.gateway import gateway

pytestmark = pytest.mark.browser

MANY = 10_000
OPEN = 150  # the newest job but so many runs; what is newer has ended


@pytest.fixture(scope="module")
def own(client):
    url = client.settings.redis_url
    return replace(client.settings, redis_url=url.replace("/4", "/6"))


@pytest.fixture(scope="module")
def ledger(own, storage):
    base = rows.job(storage, "browser-many-jobs", [], 1)
    with closing(redis_client(own)) as redis, closing(Ledger(own)) as made:
        redis.flushdb()
        for n in (0, MANY - OPEN):
            record = changed(
                base, job_id=f"job-{n:05d}", created_at=1.79e9 + n, owner="ann", items=9, parts=9
            )
            made.open(record)
        made.cancel("job-00000")
        with redis.pipeline(transaction=False) as pipe:
            for n in {*range(1, MANY)} - {MANY - OPEN}:
                pipe.copy(keys.job("job-00000"), keys.job(f"job-{n:05d}"))
                pipe.zadd(keys.JOBS, {f"job-{n:05d}": 1.79e9 + n})
            pipe.execute()
        yield made
        redis.flushdb()


def test_a_search_goes_through_all_of_them_and_what_runs_is_followed(
    opened, own, ledger, worker_environ, folder, tokens
):
    environ = {**worker_environ, "CAMFLEET_REDIS_URL": own.redis_url}
    token = tokens.create("ann", ALL, 1)[0]
    with gateway(environ, folder, None) as web:
        window = opened(f"http://127.0.0.1:{web.port}/")
        page = window.page
        window.sign_in(token, "#/jobs")
        shown = page.locator("tbody tr")
        window.wait(lambda: shown.count() == 100)
        page.get_by_label("Search").fill("JOB-00007")
        page.get_by_role("link", name="job-00007").wait_for(timeout=60_000)
        page.get_by_text("1 of 10,000", exact=True).wait_for()
        page.get_by_label("Search").fill("no such job")
        page.get_by_text("No job fits").wait_for()
        page.get_by_role("button", name="Show all").click()
        window.wait(lambda: shown.count() == 100)
        page.get_by_role("button", name="Show older jobs").click()
        window.wait(lambda: shown.count() == 200)
        running = f"job-{MANY - OPEN:05d}"
        row = page.locator("tbody tr", has_text=running)
        assert "queued" in row.inner_text()
        ledger.cancel(running)
        row.get_by_text("cancelled").wait_for(timeout=30_000)
        page.goto("about:blank")
