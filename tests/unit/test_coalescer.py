"""What is asked for at the same time runs together."""

import threading

import pytest

from camfleet_worker.pipeline.coalescer import Coalescer
from camfleet_worker.process.priority import PrioritySemaphore
from helpers.waiting import wait_until


def started(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def joined(threads):
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize(("company", "sizes"), [(lambda n: n, [6]), (lambda _n: 1, [1] * 6)])
def test_those_who_come_while_the_device_is_busy_go_along(company, sizes):
    semaphore, seen, answers = PrioritySemaphore(), [], {}
    coalescer = Coalescer(semaphore)

    def double(things):
        seen.append(len(things))
        return lambda: [2 * thing for thing in things]

    def ask(number):
        answers[number] = coalescer.run("key", number, double, company)

    with semaphore.hold():
        threads = started(*(lambda n=number: ask(n) for number in range(6)))
        wait_until(lambda: len(coalescer._lines.get("key", ())) == 6, 10)
    joined(threads)
    assert answers == {number: 2 * number for number in range(6)}
    assert seen == sizes
    assert coalescer._lines == {}


def fail(_things=()):
    raise ValueError("broken")


@pytest.mark.parametrize("work", [fail, lambda _things: fail], ids=["at its start", "at its end"])
def test_an_error_of_a_batch_reaches_all_who_were_in_it(work):
    semaphore, errors = PrioritySemaphore(), []
    coalescer = Coalescer(semaphore)

    def ask():
        try:
            coalescer.run("key", 1, work, lambda n: n)
        except ValueError as error:
            errors.append(str(error))

    with semaphore.hold():
        threads = started(ask, ask)
        wait_until(lambda: len(coalescer._lines.get("key", ())) == 2, 10)
    joined(threads)
    assert errors == ["broken", "broken"]


def test_the_next_batch_begins_while_the_last_one_ends():
    coalescer, begun = Coalescer(PrioritySemaphore()), threading.Barrier(2, timeout=10)

    def work(things):
        def finish():
            begun.wait()  # none would ever pass alone
            return things

        return finish

    answers = []
    threads = (
        lambda n=number: answers.append(coalescer.run("key", n, work, lambda _n: 1))
        for number in (1, 2)
    )
    joined(started(*threads))
    assert sorted(answers) == [1, 2]


def test_things_of_different_keys_never_share_a_batch():
    semaphore, seen = PrioritySemaphore(), []
    coalescer = Coalescer(semaphore)

    def note(things):
        seen.append(sorted(things))
        return lambda: things

    with semaphore.hold():
        threads = started(
            *(
                lambda k=key, t=thing: coalescer.run(k, t, note, lambda n: n)
                for key, thing in [("a", 1), ("a", 2), ("b", 3)]
            )
        )
        wait_until(lambda: sum(map(len, list(coalescer._lines.values()))) == 3, 10)
    joined(threads)
    assert sorted(seen) == [[1, 2], [3]]
