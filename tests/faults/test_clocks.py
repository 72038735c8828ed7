"""Hosts whose clocks are wrong: by minutes nobody notices, by a day the store refuses them."""

import pytest

from helpers.host_fleet import LEASE, PATIENCE
from helpers.waiting import wait_until
from helpers.wrong_clock import WrongClocks

pytestmark = pytest.mark.faults

IMAGES = 2000
MINUTES, DAY = 600, 86_400
REFUSED = "clock is too far"


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    return WrongClocks(tmp_path_factory.mktemp("clocks"))


def health_of_one(hosts):
    """Give what is wrong on the first host with workers, nothing where all is well."""
    with hosts.command("health", "--host", "one") as health:
        return health.said() if health.ended(PATIENCE) == 1 else ""


@pytest.mark.parametrize("seconds", [MINUTES, -MINUTES])
def test_clocks_that_differ_by_minutes_change_nothing(hosts, clocks, seconds):
    early, late = clocks.off_by(seconds), clocks.off_by(-seconds)
    with hosts.worker(hosts.one, **early) as one, hosts.worker(hosts.two, **late) as two:
        one.ready(PATIENCE)
        two.ready(PATIENCE)
        with hosts.asking(**late) as log:
            order = hosts.submit(IMAGES, **early)
            order.check()
        log.check(60)
        now = order.job.status()
        assert now.submitted_at < now.started_at < now.ended_at
        assert 0 < now.seconds_running < MINUTES / 2


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_chunks_of_a_worker_that_the_store_refuses_are_done_by_others(hosts, clocks, seconds):
    with hosts.worker(hosts.one, **clocks.off_by(seconds)) as one, hosts.worker(hosts.two) as two:
        one.ready(PATIENCE)
        two.ready(PATIENCE)
        with hosts.asking() as log:
            order = hosts.submit(IMAGES)
            one.says(REFUSED, timeout=PATIENCE)
            order.check()
            wait_until(log.answered, LEASE + 30)
        assert all(REFUSED in each.said for each in log.failed())
        # As soon as it has waited for some seconds.
        wait_until(lambda: REFUSED in health_of_one(hosts), 60)


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_producer_that_the_store_refuses_is_told_why(hosts, clocks, seconds):
    order = hosts.order(IMAGES)
    with hosts.command(*order.words, **clocks.off_by(seconds)) as command:
        assert command.ended(PATIENCE) == 1
        assert REFUSED in command.said()
    with hosts.worker(hosts.two) as two, hosts.command(*order.words) as again:
        two.ready(PATIENCE)
        assert again.ended(PATIENCE) == 0, again.said()
        order.check()
