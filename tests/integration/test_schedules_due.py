"""Schedules in a real Redis: each time is done once, whoever takes it, dies or forgets."""

import threading
from contextlib import ExitStack, closing

import pytest

from camfleet.broker.due import LATEST
from camfleet.broker.keys import SCHEDULER, SCHEDULES, SCHEDULES_CLOCK, SCHEDULES_IN_WORK
from camfleet.broker.schedules_due import SchedulesDue
from camfleet.contract.schedules import Schedule
from camfleet.errors import InvalidRequest, StorageUnavailable
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.schedules import ATTEMPTS, Scheduled, ScheduleRunner
from helpers.databases import on_database
from helpers.waiting import wait_until

MINUTE = 60
EVERY_MINUTE = Schedule(cron="* * * * *")
RARELY = Schedule(cron="0 0 1 1 *")


class Plan:
    """A bucket of schedules, and what was done; `before` runs first and may raise."""

    def __init__(self):
        self.schedules = {}
        self.paused = set()
        self.done = []
        self.begun = []
        self.before = lambda _name, _moment, _check: None
        self._lock = threading.Lock()

    def names(self):
        return list(self.schedules)

    def load(self, name):
        return None if name in self.paused else self.schedules.get(name)

    def do(self, name, moment, check):
        self.begun.append((name, moment))
        self.before(name, moment, check)
        check()
        with self._lock:
            if (name, moment) not in self.done:  # as a job of this id would be there
                self.done.append((name, moment))
            self.schedules[name] = Scheduled(self.schedules[name].schedule, moment)


@pytest.fixture(scope="module")
def own(settings):
    return on_database(settings, 9)


@pytest.fixture
def schedules(own, redis):
    with closing(SchedulesDue(own)) as made:
        yield made


@pytest.fixture
def plan():
    return Plan()


@pytest.fixture
def start(own, plan, redis):
    """Give a function that starts the threads of a worker."""
    with ExitStack() as stack:

        def start(*, lease=60, look=1000, shutdown=None, reach=lambda _point: None):
            made = ScheduleRunner(
                own,
                plan,
                shutdown=shutdown or Shutdown(8),
                reach=reach,
                poll_seconds=0.02,
                lease_seconds=lease,
                look_seconds=look,
                unit=0.001,
            )
            return stack.enter_context(closing(made))

        yield start


@pytest.fixture
def overdue(plan, schedules):
    """Give a function that makes a schedule which was due last at a full minute, and not done.

    Returns that minute.
    """

    def overdue(name="minutely", schedule=EVERY_MINUTE, missed=1):
        minute = schedules.now() // MINUTE * MINUTE
        plan.schedules[name] = Scheduled(schedule, minute - missed * MINUTE)
        schedules.enter(name, minute - (missed - 1) * MINUTE)
        return minute

    return overdue


def is_next(schedules, name, after):
    """Return whether a schedule is due next, and not in work, a minute after a time or later."""
    moment = schedules.times().get(name, 0)
    return moment % MINUTE == 0 and moment > after


def minutes(plan):
    return sorted({moment for _, moment in plan.done})


def test_what_is_due_is_done_for_its_time_and_then_due_at_the_next(
    start, plan, overdue, schedules, redis
):
    minute = overdue()
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert plan.done[0] == ("minutely", minute)
    assert not redis.exists(SCHEDULES_IN_WORK)


def test_what_was_missed_is_done_once_for_the_latest_time(start, plan, overdue, schedules):
    minute = overdue(missed=500)
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert plan.done[0][1] >= minute
    assert len(plan.begun) == len(minutes(plan)) <= 2


def test_a_thousand_that_are_due_at_once_are_each_done_once_by_three_workers(
    start, plan, schedules
):
    now = schedules.now()
    for number in range(1000):
        plan.schedules[f"s{number}"] = Scheduled(RARELY, now - 400 * 86400)
        schedules.enter(f"s{number}", 1)
    for _ in range(3):
        start()
    wait_until(lambda: min(schedules.times().values()) > now + 600, 60)
    assert len(plan.begun) == len(plan.done) == 1000


def test_a_time_that_takes_longer_than_a_lease_is_done_once(start, plan, overdue, schedules):
    minute = overdue()

    def slow(_name, _moment, _check):
        end = schedules.now() + 1.5
        wait_until(lambda: schedules.now() > end, 10)

    plan.before = slow
    for _ in range(2):
        start(lease=0.5)
    wait_until(lambda: is_next(schedules, "minutely", minute), 20)
    assert plan.begun == plan.done


def test_who_takes_over_does_the_time_at_which_the_other_died(start, plan, overdue, schedules):
    minute = overdue(missed=3)
    with closing(SchedulesDue(schedules._redis._settings, lease_seconds=0.3)) as dying:
        assert dying.due.take().name == "minutely"
        assert dying.begin("minutely", minute - 2 * MINUTE, minute - 3 * MINUTE)
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    first, *rest = [moment for _, moment in plan.done]
    assert first == minute - 2 * MINUTE, "though others have come due meanwhile"
    assert minute - MINUTE not in rest, "of which the latest is done, once"
    assert len(rest) in (1, 2)


def test_one_that_died_after_all_was_done_has_nothing_done_again(start, plan, overdue, schedules):
    minute = overdue(schedule=RARELY)
    done = RARELY.latest(0, minute)
    plan.schedules["minutely"] = Scheduled(RARELY, done)
    with closing(SchedulesDue(schedules._redis._settings, lease_seconds=0.3)) as dying:
        dying.due.take()
        dying.begin("minutely", done, 0)
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert plan.begun == []


def test_what_fails_is_tried_again_and_then_left_until_the_next_time(
    start, plan, overdue, schedules, redis
):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)

    def broken(_name, _moment, _check):
        raise OSError("no luck")

    plan.before = broken
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert len(plan.begun) == ATTEMPTS
    assert plan.done == []
    assert not redis.exists(SCHEDULES_IN_WORK)


def test_workers_that_die_of_it_are_no_reason_to_go_on_for_ever(
    start, plan, overdue, schedules, redis, caplog
):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)
    redis.hset(SCHEDULES_IN_WORK, "minutely/attempts", ATTEMPTS)
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert plan.begun == []
    assert "the workers died with it" in caplog.text


def test_what_cannot_be_done_is_left_until_the_next_time(start, plan, overdue, schedules, caplog):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)

    def refused(_name, _moment, _check):
        raise InvalidRequest("no such baseline")

    plan.before = refused
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert len(plan.begun) == 1
    assert "schedule minutely can't be done: no such baseline" in caplog.text


def test_an_outage_is_no_attempt(start, plan, overdue, schedules):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)

    def unlucky(_name, _moment, _check):
        if len(plan.begun) <= 2 * ATTEMPTS:
            raise StorageUnavailable("no answer")

    plan.before = unlucky
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 20)
    assert len(plan.done) == 1


def test_a_worker_that_is_told_to_stop_gives_it_back(start, plan, overdue, schedules):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)
    stopping = Shutdown(0)

    def stop(_name, _moment, check):
        if len(plan.begun) == 1:
            stopping.begin()
            wait_until(check, 10)

    plan.before = stop
    start(shutdown=stopping)
    wait_until(lambda: plan.begun and schedules.times().get("minutely", 9e9) < schedules.now(), 10)
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert len(plan.done) == 1


def test_an_emptied_redis_gets_them_back_and_makes_up_for_what_was_missed_once(
    start, plan, overdue, schedules, redis
):
    minute = overdue(missed=100)
    plan.schedules["rare"] = Scheduled(RARELY, minute)
    plan.schedules["paused"] = Scheduled(EVERY_MINUTE, minute - MINUTE)
    plan.paused.add("paused")
    redis.flushdb()
    for _ in range(2):
        start(look=0.05)
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert schedules.times()["rare"] == RARELY.next_after(minute)
    assert len(plan.done) <= 2
    assert "paused" not in schedules.times()


def test_only_what_somebody_had_entered_is_called_forgotten(start, plan, schedules, redis, caplog):
    caplog.set_level("WARNING", "camfleet_worker.schedules")
    now = schedules.now()
    plan.schedules["found"] = Scheduled(RARELY, now, entered=False)
    first = start(look=0.05)
    wait_until(lambda: "found" in schedules.times(), 10)
    first.close()
    assert "forgotten" not in caplog.text
    plan.schedules["rare"] = Scheduled(RARELY, now)
    schedules.remove("found")
    redis.delete(SCHEDULER)  # whose turn it is to look
    start(look=0.05)
    wait_until(lambda: len(schedules.times()) == 2, 10)
    assert "Redis had forgotten schedules (1): rare" in caplog.text


def test_one_that_is_entered_is_not_moved_by_that(start, plan, schedules, redis):
    now = schedules.now()
    plan.schedules["rare"] = Scheduled(RARELY, now)
    schedules.enter("rare", now + 100)
    start(look=0.05)
    wait_until(lambda: redis.exists(SCHEDULER), 10)
    schedules.enter_forgotten({"rare": 1})
    assert schedules.times() == {"rare": pytest.approx(now + 100)}


def test_what_is_paused_deleted_or_damaged_is_not_done(start, plan, overdue, schedules, redis):
    overdue("paused")
    plan.paused.add("paused")
    overdue("deleted")
    del plan.schedules["deleted"]
    overdue("damaged", Schedule(cron="nonsense"))
    start()
    wait_until(lambda: not redis.exists(SCHEDULES), 10)
    assert plan.begun == []


def test_one_that_is_changed_while_it_is_in_work_is_left_to_the_change(
    start, plan, overdue, schedules, redis
):
    overdue(schedule=RARELY, missed=600 * 24 * 60)

    def change(name, _moment, check):
        schedules.enter(name, schedules.now() + 1000)
        wait_until(check, 10)

    plan.before = change
    start(lease=0.3)
    wait_until(lambda: plan.begun, 10)
    wait_until(lambda: schedules.times().get("minutely", 0) > schedules.now() + 900, 10)
    assert plan.done == []
    assert not redis.exists(SCHEDULES_IN_WORK)


def test_one_that_is_entered_too_early_is_due_at_its_time(start, plan, schedules):
    now = schedules.now()
    plan.schedules["rare"] = Scheduled(RARELY, now)
    schedules.enter("rare", 1)
    start()
    wait_until(lambda: schedules.times().get("rare") == RARELY.next_after(now), 10)
    assert plan.begun == []


def test_a_lease_of_a_clock_that_was_set_back_holds_nobody_up(start, plan, overdue, schedules):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)
    moment = RARELY.latest(0, minute)
    schedules.begin("minutely", moment, 0)
    schedules._redis.run("ZADD", SCHEDULES, schedules.now() + LATEST + 3600, "minutely")
    start(look=0.05)
    wait_until(lambda: plan.done == [("minutely", moment)], 10)


def test_one_that_changes_its_schedule_when_it_is_done_has_missed_nothing_by_that(
    start, plan, overdue, schedules
):
    minute = overdue(schedule=RARELY, missed=600 * 24 * 60)
    plan.load = lambda name: Scheduled(
        EVERY_MINUTE if plan.begun else RARELY, plan.schedules[name].last
    )
    start()
    wait_until(lambda: is_next(schedules, "minutely", minute), 10)
    assert plan.begun[0] == ("minutely", RARELY.latest(0, minute))
    assert ("minutely", minute) not in plan.begun


def test_a_clock_that_ran_ahead_leaves_nothing_undone_once_it_is_set_back(
    start, plan, schedules, redis
):
    now, year = schedules.now(), 365 * 86400
    plan.schedules["done-ahead"] = Scheduled(EVERY_MINUTE, now + year)
    schedules.enter("done-ahead", now + year + 60)
    plan.schedules["waits"] = Scheduled(EVERY_MINUTE, now - 3600)
    schedules.enter("waits", now + year)
    redis.set(SCHEDULES_CLOCK, now + year)
    start(look=0.05)
    wait_until(lambda: is_next(schedules, "waits", now), 10)
    assert [name for name, _ in plan.done] == ["waits"]
    assert schedules.times()["done-ahead"] == EVERY_MINUTE.next_after(now)
    assert abs(float(redis.get(SCHEDULES_CLOCK)) - now) < 60
    assert not schedules.is_set_back()


def test_a_clock_that_jumps_ahead_makes_up_once_for_what_seems_missed(start, plan, schedules):
    now = schedules.now()
    plan.schedules["minutely"] = Scheduled(EVERY_MINUTE, now - 30 * 86400)
    schedules.enter("minutely", now - 30 * 86400 + 60)
    start()
    wait_until(lambda: is_next(schedules, "minutely", now), 10)
    assert len(plan.begun) == 1


@pytest.mark.parametrize("said", ["", "soon", "nan", "inf", "1"])
def test_junk_in_the_place_of_the_clock_is_written_over(start, plan, schedules, redis, said):
    redis.set(SCHEDULES_CLOCK, said)
    plan.schedules["rare"] = Scheduled(RARELY, schedules.now())
    start(look=0.05)
    wait_until(lambda: "rare" in schedules.times(), 10)
    wait_until(lambda: redis.get(SCHEDULES_CLOCK) != said, 10)
    assert abs(float(redis.get(SCHEDULES_CLOCK)) - schedules.now()) < 60


def test_one_that_nobody_does_is_known(schedules):
    now = schedules.now()
    schedules.enter("late", now - 100)
    schedules.enter("soon", now + 100)
    assert schedules.late(50) == ["late"]
    assert schedules.late(200) == []
    schedules.remove("late")
    assert schedules.late(50) == []


@pytest.mark.parametrize("junk", ["", "soon", "-1", "1e400", "99999999999"])
def test_junk_among_what_is_in_work_is_written_over(schedules, redis, junk):
    redis.hset(SCHEDULES_IN_WORK, "minutely", junk)
    assert schedules.begin("minutely", 120.0, 60.0) == 120.0
