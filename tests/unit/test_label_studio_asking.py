"""Tasks that Label Studio waits for: how many there may be, and when nobody waits any more."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from camfleet.errors import AnswerTimeout
from camfleet.gateway.endpoints.label_studio import asking
from camfleet.gateway.label_studio.recent import MOST_OPEN, Explained, Recent
from camfleet.gateway.problems import Problem

PLAN = SimpleNamespace(
    model=SimpleNamespace(digest="d"),
    version="v",
    asked={},
    predictions=SimpleNamespace(heat=False),
)


def crowded(asked):
    """Return a call of a token that always has too much in work."""

    @asynccontextmanager
    async def request(_token):
        asked.append(None)
        raise Problem(429, "too_many_requests", "wait")
        yield

    admission = SimpleNamespace(request=request)
    return SimpleNamespace(owner="ann", whose=None, services=SimpleNamespace(admission=admission))


def test_a_token_without_room_is_asked_again_until_nobody_waits_and_no_longer():
    asked = []

    async def main():
        until = asyncio.get_running_loop().time() + 0.5
        turns = asyncio.Semaphore(1)
        with pytest.raises(Problem) as refused:
            await asking.predict(crowded(asked), PLAN, "s3://b/a.jpg", Recent(), turns, until)
        assert not turns.locked()
        return refused.value.status

    assert asyncio.run(main()) == 429
    assert 2 <= len(asked) <= 3


def test_an_image_whose_turn_comes_too_late_is_not_asked_for():
    asked = []

    async def main():
        turns = asyncio.Semaphore(0)
        until = asyncio.get_running_loop().time() + 0.1
        with pytest.raises(AnswerTimeout):
            await asking.predict(crowded(asked), PLAN, "s3://b/a.jpg", Recent(), turns, until)

    asyncio.run(main())
    assert not asked


def test_an_owner_has_so_many_tasks_waiting_also_where_its_callers_have_gone():
    async def main():
        recent, ends = Recent(seconds=0), asyncio.Event()

        async def ask():
            await ends.wait()
            return Explained((), None)

        callers = [asyncio.ensure_future(recent.get("ann", n, ask)) for n in range(MOST_OPEN)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        with pytest.raises(Problem) as refused:
            await recent.get("ann", "more", ask)
        assert (refused.value.status, refused.value.code) == (429, "too_many_tasks")
        other = asyncio.ensure_future(recent.get("bob", "more", ask))
        ends.set()
        assert await other == Explained((), None)
        assert await recent.get("ann", "more", ask) == Explained((), None)

    asyncio.run(main())
