"""Work in threads, a bounded way ahead."""

import itertools
import threading

import pytest

from camfleet.prefetch import in_order


def counted(taken):
    for number in itertools.count():
        taken.append(number)
        yield number


def test_answers_come_in_the_order_of_the_things_whoever_is_done_first():
    second_is_done = threading.Event()

    def work(number):
        if number == 0:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return number * number

    assert list(in_order(work, range(5), threads=2, ahead=4)) == [0, 1, 4, 9, 16]


def test_no_more_is_taken_in_advance_than_allowed():
    taken = []
    answers = in_order(lambda number: number, counted(taken), threads=2, ahead=3)
    assert next(answers) == 0
    assert taken == [0, 1, 2, 3]
    assert next(answers) == 1
    assert taken == [0, 1, 2, 3, 4]
    answers.close()


def test_an_error_comes_in_its_place_and_nothing_more_is_begun():
    begun = []

    def work(number):
        begun.append(number)
        return 6 // (2 - number)

    answers = in_order(work, counted([]), threads=1, ahead=2)
    assert [next(answers), next(answers)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(answers)
    assert len(begun) <= 5


def test_when_the_things_break_off_what_is_in_work_is_waited_for():
    done = []
    going = threading.Event()

    def things():
        yield 1
        going.set()
        raise LookupError

    def work(number):
        assert going.wait(10)
        done.append(number)

    with pytest.raises(LookupError):
        list(in_order(work, things(), threads=1, ahead=2))
    assert done == [1]
