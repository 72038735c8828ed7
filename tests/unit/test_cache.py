"""The model cache: one build no matter how many ask, and a budget in bytes."""

import threading
from dataclasses import dataclass

import pytest

from camfleet_worker.models.cache import ModelCache


@dataclass
class Model:
    name: str
    nbytes: int = 10


def test_two_threads_that_ask_for_the_same_cold_model_build_it_once():
    builds, both_asked = [], threading.Barrier(2, timeout=5)

    def build(key):
        builds.append(key)
        both_asked.wait()
        return Model(key)

    cache, found = ModelCache(build, 100), []
    first = threading.Thread(target=lambda: found.append(cache.get("a")))
    first.start()

    def second_asks():
        while not builds:
            pass
        waiter = threading.Thread(target=lambda: found.append(cache.get("a")))
        waiter.start()
        both_asked.wait()
        waiter.join(5)

    second_asks()
    first.join(5)
    assert builds == ["a"]
    assert found[0] is found[1]
    assert (cache.counts().hits, cache.counts().misses) == (1, 1)


def test_the_least_recently_used_model_leaves_when_the_budget_is_passed():
    cache = ModelCache(Model, 20)
    for key in ("a", "b", "a", "c"):
        cache.get(key)
    counts = cache.counts()
    assert (counts.models, counts.nbytes, counts.evictions) == (2, 20, 1)
    cache.get("a")
    assert cache.counts().hits == 2, "a stayed because it was used after b"


def test_a_model_larger_than_the_budget_is_held_alone():
    cache = ModelCache(lambda key: Model(key, 50 if key == "big" else 10), 20)
    for key in ("a", "big", "big"):
        cache.get(key)
    counts = cache.counts()
    assert (counts.models, counts.nbytes, counts.hits) == (1, 50, 1)


def test_a_failed_build_is_told_and_tried_again_the_next_time():
    attempts = []

    def build(key):
        attempts.append(key)
        if len(attempts) == 1:
            raise OSError("no")
        return Model(key)

    cache = ModelCache(build, 100)
    with pytest.raises(OSError, match="no"):
        cache.get("a")
    assert cache.get("a").name == "a"
    assert cache.counts().models == 1
