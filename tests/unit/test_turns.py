"""Who gets the device next: those whom somebody waits for, and several of them at once."""

import threading
import time

import pytest

from camfleet_worker.pipeline.coalescer import Together, Turn
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
    turn, order = Turn(), []

    def bulk():
        with turn.taken():
            order.append("bulk")

    def urgent():
        with turn.taken(urgent=True):
            order.append("urgent")

    with turn.taken():
        threads = started(bulk, bulk)
        threads += started(urgent)
        wait_until(lambda: turn._rushing == 1, 10)
    joined(threads)
    assert order == ["urgent", "bulk", "bulk"]


def test_the_device_is_free_again_after_an_error():
    turn = Turn()
    with pytest.raises(KeyError), turn.taken():
        raise KeyError
    with turn.taken():
        pass


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_each_device_has_one_caller_and_nobody_is_forgotten(devices):
    turn, lock, busy, most = Turn(devices), threading.Lock(), [], []

    def hold(number):
        for _ in range(50):
            with turn.taken(urgent=number % 3 == 0):
                with lock:
                    busy.append(number)
                    most.append(len(busy))
                time.sleep(1e-4)
                with lock:
                    busy.remove(number)

    joined(started(*(lambda n=number: hold(n) for number in range(8))))
    assert len(most) == 8 * 50
    assert max(most) == devices
    assert (turn._free, turn._rushing) == (devices, 0)


@pytest.mark.parametrize(("company", "sizes"), [(lambda n: n, [6]), (lambda _n: 1, [1] * 6)])
def test_those_who_come_while_the_device_is_busy_go_along(company, sizes):
    turn, seen, answers = Turn(), [], {}
    together = Together(turn)

    def double(things):
        seen.append(len(things))
        return lambda: [2 * each for each in things]

    def ask(number):
        answers[number] = together.run("key", number, double, company)

    with turn.taken():
        threads = started(*(lambda n=number: ask(n) for number in range(6)))
        wait_until(lambda: len(together._lines.get("key", ())) == 6, 10)
    joined(threads)
    assert answers == {number: 2 * number for number in range(6)}
    assert seen == sizes
    assert together._lines == {}


def fail(_things=()):
    raise ValueError("broken")


@pytest.mark.parametrize("work", [fail, lambda _things: fail], ids=["at its start", "at its end"])
def test_an_error_of_a_batch_reaches_all_who_were_in_it(work):
    turn, errors = Turn(), []
    together = Together(turn)

    def ask():
        try:
            together.run("key", 1, work, lambda n: n)
        except ValueError as error:
            errors.append(str(error))

    with turn.taken():
        threads = started(ask, ask)
        wait_until(lambda: len(together._lines.get("key", ())) == 2, 10)
    joined(threads)
    assert errors == ["broken", "broken"]


def test_the_next_batch_begins_while_the_last_one_ends():
    together, begun = Together(Turn()), threading.Barrier(2, timeout=10)

    def work(things):
        def finish():
            begun.wait()  # none would ever pass alone
            return things

        return finish

    answers = []
    threads = (
        lambda n=number: answers.append(together.run("key", n, work, lambda _n: 1))
        for number in (1, 2)
    )
    joined(started(*threads))
    assert sorted(answers) == [1, 2]


def test_things_of_different_keys_never_share_a_batch():
    turn, seen = Turn(), []
    together = Together(turn)

    def note(things):
        seen.append(sorted(things))
        return lambda: things

    with turn.taken():
        threads = started(
            *(
                lambda k=key, t=thing: together.run(k, t, note, lambda n: n)
                for key, thing in [("a", 1), ("a", 2), ("b", 3)]
            )
        )
        wait_until(lambda: sum(map(len, list(together._lines.values()))) == 3, 10)
    joined(threads)
    assert sorted(seen) == [[1, 2], [3]]
