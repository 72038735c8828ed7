"""What was used last stays, as long as all of it is within the budget."""

from concurrent.futures import ThreadPoolExecutor

from camfleet.lru import LRU


def kept(lru, names):
    """Return what is kept of these; asking about them changes which was used last."""
    return {name for name in names if lru.get(name) is not None}


def test_what_was_used_longest_ago_goes_once_the_sizes_exceed_the_budget():
    lru = LRU(10)
    for name in "abc":
        assert lru.put(name, name.upper(), 3) == name.upper()
    assert lru.get("a") == "A"
    lru.put("d", "D", 2)
    assert kept(lru, "abcd") == {"a", "c", "d"}


def test_a_value_larger_than_the_budget_is_kept_alone_until_the_next_one():
    lru = LRU(10)
    lru.put("small", 1, 10)
    lru.put("large", 2, 11)
    assert (lru.get("small"), lru.get("large")) == (None, 2)
    lru.put("next", 3, 1)
    assert (lru.get("large"), lru.get("next")) == (None, 3)


def test_a_value_that_is_replaced_counts_no_longer():
    lru = LRU(10)
    for size in (9, 8, 1):
        lru.put("a", size, size)
    lru.put("b", 9, 9)
    assert (lru.get("a"), lru.get("b")) == (1, 9)


def test_threads_that_share_one_never_exceed_the_budget():
    lru = LRU(50)

    def use(start):
        for number in range(start, start + 2000):
            lru.put(number % 97, number, 1)
            lru.get(number % 89)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(kept(lru, range(97))) == 50
