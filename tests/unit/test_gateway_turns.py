"""Turns at what all owners share: none has it all, and each has its turn."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from camfleet.gateway.access.turns import WHO, FairThreads, Turns, in_thread
from camfleet.gateway.pipe import PIECE, in_pieces


async def take(turns, who, began=None):
    """Take a place as somebody does in a task of its own; note that it has begun."""
    WHO.set(who)
    await turns.take()
    if began is not None:
        began.append(who)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def crowd(turns, began, *names):
    return [asyncio.ensure_future(take(turns, who, began)) for who in names]


def test_one_has_half_and_two_have_two_thirds():
    async def main():
        began = []
        crowd(Turns(16), began, *["ann"] * 100)
        await settle()
        assert began.count("ann") == 8
        both, began = Turns(15), []
        crowd(both, began, *["ann", "bob"] * 50)
        await settle()
        assert (began.count("ann"), began.count("bob")) == (5, 5)

    asyncio.run(main())


def test_a_place_that_is_given_back_is_for_whoever_has_waited_longest_for_any():
    async def main():
        turns, began = Turns(4), []
        crowd(turns, began, "ann", "ann", "ann", "ann", "bob", "bob", "cara", "cara")
        await settle()
        assert began == ["ann", "ann", "bob", "cara"]
        turns.give("bob")
        await settle()
        assert began[4:] == ["bob"]
        for owner in ("ann", "ann", "bob", "cara"):
            turns.give(owner)
        await settle()
        assert sorted(began[5:]) == ["ann", "ann", "cara"]
        for owner in ("ann", "ann", "cara"):
            turns.give(owner)
        assert (turns._free, turns._held, turns._waiting) == (4, {}, {})

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_or_just_as_it_is_called_takes_no_place():
    async def main():
        turns, began = Turns(2), []
        first, second, third = crowd(turns, began, "ann", "ann", "ann")
        await settle()
        second.cancel()
        await settle()
        turns.give("ann")  # which calls the third
        third.cancel()
        await settle()
        assert (first.done(), second.cancelled(), third.cancelled()) == (True, True, True)
        assert (turns._free, turns._held, turns._waiting) == (2, {}, {})

    asyncio.run(main())


def test_a_place_is_held_until_its_thread_ends_also_where_nobody_waits_for_it_any_more():
    async def main():
        turns, go, started = Turns(2), threading.Event(), threading.Event()
        with ThreadPoolExecutor(2) as pool:

            def work():
                started.set()
                return go.wait(30)

            running = asyncio.ensure_future(in_thread(turns, pool, work))
            assert await asyncio.to_thread(started.wait, 30)
            running.cancel()
            await settle()
            assert turns._free == 1
            go.set()
            assert await in_thread(turns, pool, lambda: "next") == "next"
            await settle()

            with pytest.raises(ZeroDivisionError):
                await in_thread(turns, pool, lambda: 1 // 0)
            pool.shutdown()
            with pytest.raises(RuntimeError):
                await in_thread(turns, pool, lambda: None)
            await settle()
        assert (turns._free, turns._held) == (2, {})

    asyncio.run(main())


@pytest.mark.parametrize("pool", ["quick", "long"])
def test_others_get_a_thread_while_somebody_fills_all_that_may_be_had(pool):
    async def main():
        go = threading.Event()
        with closing(FairThreads(4, 4)) as threads:
            start = getattr(threads, pool)

            async def flood():
                WHO.set("ann")
                await asyncio.gather(*(start(lambda: go.wait(30)) for _ in range(50)))

            flooding = asyncio.ensure_future(flood())
            await settle()
            WHO.set("bob")
            assert await asyncio.wait_for(start(lambda: "bob's"), 10) == "bob's"
            go.set()
            await flooding

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 1])
def test_a_body_goes_out_whole_in_pieces_of_which_the_last_one_says_so(size):
    body, sent = bytes(range(256)) * (size // 256 + 1), []

    async def send(message):
        sent.append(message)

    async def main():
        told = {"type": "http.response.body", "body": body[:size], "more_body": False}
        await in_pieces(send)({"type": "http.response.start", "status": 200})
        await in_pieces(send)(told)

    asyncio.run(main())
    pieces = sent[1:]
    assert b"".join(one["body"] for one in pieces) == body[:size]
    assert all(0 < len(one["body"]) <= PIECE for one in pieces) or size == 0
    assert [one["more_body"] for one in pieces] == [True] * (len(pieces) - 1) + [False]
