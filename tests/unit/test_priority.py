"""Who gets a device next: those whom somebody waits for, but others too in the end."""

import threading
import time

import pytest

from camfleet_worker.process.priority import PrioritySemaphore, is_urgent, urgently
from helpers.waiting import wait_until


def started(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def joined(threads):
    for thread in threads:
        thread.join(10)


def test_an_urgent_caller_goes_before_those_who_came_earlier():
    semaphore, order = PrioritySemaphore(), []

    def bulk():
        with semaphore.hold():
            order.append("bulk")

    def urgent():
        with semaphore.hold(urgent=True):
            order.append("urgent")

    with semaphore.hold():
        threads = started(bulk, bulk)
        threads += started(urgent)
        wait_until(lambda: len(semaphore._urgent) == 1, 10)
    joined(threads)
    assert order == ["urgent", "bulk", "bulk"]


def test_the_device_is_free_again_after_an_error():
    semaphore = PrioritySemaphore()
    with pytest.raises(KeyError), semaphore.hold():
        raise KeyError
    with semaphore.hold():
        pass


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_each_device_has_one_caller_and_nobody_is_forgotten(devices):
    semaphore, lock, busy, most = PrioritySemaphore(devices), threading.Lock(), [], []

    def hold(number):
        for _ in range(50):
            with semaphore.hold(urgent=number % 3 == 0):
                with lock:
                    busy.append(number)
                    most.append(len(busy))
                time.sleep(1e-4)
                with lock:
                    busy.remove(number)

    joined(started(*(lambda n=number: hold(n) for number in range(8))))
    assert len(most) == 8 * 50
    assert max(most) == devices
    assert (semaphore._free, len(semaphore._urgent)) == (devices, 0)


def test_a_stream_of_urgent_callers_leaves_every_fifth_turn_to_others():
    semaphore, order = PrioritySemaphore(), []

    def hold(*, urgent):
        with semaphore.hold(urgent=urgent):
            order.append("urgent" if urgent else "bulk")

    with semaphore.hold():
        threads = started(*[lambda: hold(urgent=False)] * 2, *[lambda: hold(urgent=True)] * 10)
        wait_until(lambda: (len(semaphore._urgent), semaphore._others_waiting) == (10, 2), 10)
    joined(threads)
    assert order == [*["urgent"] * 4, "bulk", *["urgent"] * 4, "bulk", *["urgent"] * 2]


def test_urgent_callers_have_their_turns_in_the_order_in_which_they_came():
    semaphore, order = PrioritySemaphore(), []

    def hold(number):
        with semaphore.hold(urgent=True):
            order.append(number)

    threads = []
    with semaphore.hold():
        for number in range(6):
            threads += started(lambda n=number: hold(n))
            wait_until(lambda n=number: len(semaphore._urgent) == n + 1, 10)
    joined(threads)
    assert order == list(range(6))


def test_a_thread_that_holds_a_device_goes_on_with_it():
    semaphore = PrioritySemaphore()
    with semaphore.hold(urgent=True), semaphore.hold():
        assert semaphore._free == 0
    assert semaphore._free == 1


def test_a_device_is_wanted_while_an_urgent_caller_waits_and_two_seconds_after():
    now = [1000.0]
    semaphore = PrioritySemaphore(clock=lambda: now[0])

    def ask():
        with semaphore.hold(urgent=True):
            pass

    with semaphore.hold():
        assert not semaphore.is_wanted
        threads = started(ask)
        wait_until(lambda: semaphore.is_wanted, 10)
    joined(threads)
    now[0] += 1.9
    assert semaphore.is_wanted
    now[0] += 0.2
    assert not semaphore.is_wanted


def test_only_what_a_thread_does_in_the_block_is_urgent():
    seen = []
    with urgently():
        joined(started(lambda: seen.append(is_urgent())))
        seen.append(is_urgent())
    assert [*seen, is_urgent()] == [False, True, False]
