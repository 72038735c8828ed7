"""Pictures that workers make for an owner at a time: what is more waits, and nobody else."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.broker.redis import redis_client
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.lanes import queues_of
from camfleet.contract.messages import THUMBNAILS_TASK, kind_of
from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.calls import MOST_MADE
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from helpers import rows
from helpers.databases import on_database
from helpers.gateway import gateway
from helpers.waiting import wait_until

JOB = "web-pictures-at-once"
MORE = 4


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 12)


@pytest.fixture
def redis(own):
    with closing(redis_client(own)) as made:
        made.flushdb()
        yield made
        made.flushdb()


@pytest.fixture
def tokens(own):
    """Give a token of the job's owner, and one of an admin."""
    with closing(Storage(own)) as storage:
        made = [rows.row(n, np.ones((2, 2))) for n in range(MOST_MADE + MORE)]
        record = replace(rows.job(storage, JOB, [made], len(made)), owner="pia")
        storage.put(keys.job(JOB), encode_json(sealed(record, 2)), "application/json")
        with closing(Ledger(own)) as ledger:
            ledger.open(record)
        found = Tokens(storage)
        yield [
            found.create(name, (scope,), 1)[0]
            for name, scope in (("pia", "jobs:read"), ("paul", "admin"))
        ]


def test_an_owner_has_so_many_pictures_made_at_a_time_and_keeps_nobody_else_waiting(
    environ, own, redis, tokens, tmp_path
):
    """No worker lives: what is asked of one stays in its queue until that's given up."""
    changed = {**environ, "CAMFLEET_REDIS_URL": own.redis_url}
    mine, theirs = tokens

    def asked():
        return sum(redis.llen(queue) for queue in queues_of(kind_of(THUMBNAILS_TASK)))

    with ThreadPoolExecutor(MOST_MADE + MORE + 1) as pool, gateway(changed, tmp_path, mine) as web:
        pictures = [
            pool.submit(web.ask, "GET", f"/v1/jobs/{JOB}/rows/0:{n}/photo")
            for n in range(MOST_MADE + MORE)
        ]
        wait_until(lambda: asked() == MOST_MADE, 20)
        pool.submit(web.ask, "GET", f"/v1/jobs/{JOB}/rows/0:0/photo?side=160", token=theirs)
        wait_until(lambda: asked() == MOST_MADE + 1, 20)
        assert web.ask("GET", f"/v1/jobs/{JOB}").json["job_id"] == JOB
        assert asked() == MOST_MADE + 1
        assert [one.done() for one in pictures] == [False] * (MOST_MADE + MORE)
        web.process.kill()
