"""How fast a process explains the images of a model, whatever runs beside it."""

from contextlib import contextmanager

import pytest

from camfleet_worker.chunks.rates import Rates
from camfleet_worker.chunks.run import JobCancelled
from camfleet_worker.process.shutdown import WorkerStops


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rates(clock):
    return Rates(clock)


@contextmanager
def explained(rates, model, images):
    with rates.chunk(model) as chunk:
        yield chunk
        chunk.images = images


def run(rates, clock, model, images, seconds):
    with explained(rates, model, images):
        clock.now += seconds


def test_the_first_chunk_of_a_model_is_not_counted_as_it_may_load_the_model(rates, clock):
    run(rates, clock, "a@1", 256, 100)
    assert rates.rates() == {}
    run(rates, clock, "a@1", 256, 2)
    assert rates.rates() == {"a@1": 128}


def test_time_between_chunks_does_not_count(rates, clock):
    for _ in range(3):
        run(rates, clock, "a@1", 100, 4)
        clock.now += 1000
    assert rates.rates() == {"a@1": 25}


def test_chunks_side_by_side_share_the_time_whatever_their_models(rates, clock):
    for model in ("a@1", "b@1"):
        run(rates, clock, model, 1, 1)
    with explained(rates, "a@1", 90), explained(rates, "a@1", 90), explained(rates, "b@1", 30):
        clock.now += 9  # six of them for the two
    assert rates.rates() == {"a@1": 30, "b@1": 10}


def test_chunks_that_begin_with_the_first_one_count_from_when_the_model_is_there(rates, clock):
    """And whole: not only from when the first one has ended, which is a moment before them."""
    with explained(rates, "a@1", 100) as third, explained(rates, "a@1", 100) as second:
        with explained(rates, "a@1", 100) as first:
            clock.now += 100
            for chunk in (first, second, third) * 2:
                rates.loaded(chunk)
            clock.now += 30
        clock.now += 1
    assert rates.rates() == {"a@1": pytest.approx(200 / 21, abs=0.01)}


def test_chunks_in_work_change_no_rate_before_they_end(rates, clock):
    run(rates, clock, "a@1", 1, 1)
    run(rates, clock, "a@1", 100, 10)
    with explained(rates, "a@1", 100):
        clock.now += 10
        assert rates.rates() == {"a@1": 10}


@pytest.mark.parametrize("end", [WorkerStops, JobCancelled])
def test_a_chunk_that_was_cut_short_says_nothing(rates, clock, end):
    run(rates, clock, "a@1", 1, 1)
    run(rates, clock, "a@1", 100, 10)

    def cut_short():
        clock.now += 90
        raise end

    with pytest.raises(end), explained(rates, "a@1", 100):
        cut_short()
    assert rates.rates() == {"a@1": 10}


def test_a_first_chunk_of_which_no_image_was_explained_has_loaded_no_model(rates, clock):
    run(rates, clock, "a@1", 0, 1)
    run(rates, clock, "a@1", 100, 50)
    assert rates.rates() == {}
    run(rates, clock, "a@1", 100, 10)
    assert rates.rates() == {"a@1": 10}


def test_a_chunk_that_broke_took_time_and_counts_no_images(rates, clock):
    run(rates, clock, "a@1", 1, 1)
    run(rates, clock, "a@1", 100, 10)

    def break_():
        clock.now += 10
        raise RuntimeError

    with pytest.raises(RuntimeError), explained(rates, "a@1", 100):
        break_()
    assert rates.rates() == {"a@1": 5}


def test_what_is_long_ago_counts_less(rates, clock):
    run(rates, clock, "a@1", 1, 1)
    for _ in range(6):
        run(rates, clock, "a@1", 100, 100)
    assert rates.rates() == {"a@1": 1}
    for _ in range(60):
        run(rates, clock, "a@1", 1000, 100)
    assert rates.rates()["a@1"] == pytest.approx(10, rel=0.01)


def test_a_stranger_cannot_let_it_grow_without_end(rates, clock):
    for number in range(300):
        run(rates, clock, f"a{number}@1", 1, 1)
    for number in range(300):
        run(rates, clock, f"a{number}@1", 1, 1)
    assert len(rates.rates()) == 100
