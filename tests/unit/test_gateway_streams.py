"""Streams of rows: an owner has so many at a time, and more wait."""

import asyncio
from types import SimpleNamespace

from camfleet.gateway.access.turns import Turns
from camfleet.gateway.endpoints.results.results import in_turn


def call(turns):
    """Return what is read of the call of an owner with these turns and a valid token."""
    token = SimpleNamespace(is_valid=lambda _now: True)
    return SimpleNamespace(
        services=SimpleNamespace(streams=turns), owner="ann", whose=token, session=None
    )


def test_a_stream_waits_until_another_of_its_owner_ends_however_that_ends():
    async def main():
        own, began = call(Turns(4)), []

        async def rows(name):
            began.append(name)
            try:
                yield b"a"
                yield b"b"
            finally:
                began.remove(name)

        first, second = (in_turn(rows(name), own) for name in "12")
        assert [await anext(first), await anext(second)] == [b"a", b"a"]
        third = in_turn(rows("3"), own)
        waits = asyncio.ensure_future(anext(third))
        fourth = asyncio.ensure_future(anext(in_turn(rows("4"), own)))
        await asyncio.sleep(0)
        assert began == ["1", "2"]
        await first.aclose()  # its reader has gone
        assert await waits == b"a"
        assert began == ["2", "3"]
        fourth.cancel()  # so has one that waited
        assert [piece async for piece in second] == [b"b"]
        assert [piece async for piece in third] == [b"b"]
        assert await anext(in_turn(rows("5"), own)) == b"a"

    asyncio.run(main())
