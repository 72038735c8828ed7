"""AsyncClient against a real worker: the same verbs, awaited, and the event loop goes on."""

import asyncio
import inspect
import threading
import time

import pytest

from camfleet import (
    AnswerTimeout,
    AsyncClient,
    AsyncJob,
    AsyncModels,
    AsyncPictures,
    AsyncReviews,
    BrokerUnavailable,
    Client,
    ImageNotFound,
    InvalidRequest,
    Job,
    Pictures,
    Reviews,
    UnknownJob,
)
from camfleet.interactive.register import Models


@pytest.fixture
def on_loop(worker, worker_environ, model):
    """Run a coroutine function with a client, which is closed at the end."""

    def run(function):
        async def with_client():
            async with AsyncClient.from_environ(worker_environ) as client:
                return await function(client)

        return asyncio.run(with_client())

    return run


def verbs(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [
        (Client, AsyncClient),
        (Job, AsyncJob),
        (Models, AsyncModels),
        (Pictures, AsyncPictures),
        (Reviews, AsyncReviews),
    ],
)
def test_every_verb_is_there_with_its_arguments(blocking, awaited):
    assert verbs(awaited) == verbs(blocking)
    for name in verbs(blocking):
        ours = inspect.signature(getattr(awaited, name)).parameters
        theirs = inspect.signature(getattr(blocking, name)).parameters
        assert list(ours) == list(theirs), name


def test_an_explanation_and_a_job_are_awaited(on_loop, photos):
    async def use(client):
        (result,) = await client.explain(photos[0], model="patches")
        job = await client.submit(photos[0].parent, models="patches")
        seen = [progress async for progress in job.watch(timeout=60)]
        assert seen[-1].complete
        assert seen[-1].ok == 9
        rows = [row async for row in job.results()]
        assert len(rows) == 9
        assert {row.class_name for row in rows} >= {result.class_name}
        tables = [table async for table in job.tables(["status"])]
        assert sum(table.num_rows for table in tables) == 9
        assert (await job.verify()).ok
        assert (await client.job(job.id).wait()).complete
        assert job.id in [progress.job_id async for progress in client.jobs()]
        assert "patches" in [entry.id for entry in await client.models.list()]
        assert len(await client.workers()) == 1
        assert repr(client) == "AsyncClient(bucket='camfleet')"
        assert repr(job) == f"AsyncJob({job.id!r}, bucket='camfleet')"

    on_loop(use)


def test_errors_are_those_of_the_blocking_client(on_loop, folder):
    async def use(client):
        with pytest.raises(ImageNotFound):
            await client.explain(folder / "absent.png", model="patches")
        with pytest.raises(InvalidRequest, match="top:K"):
            await client.explain("s3://a/b", model="patches", target="top:many")
        with pytest.raises(TypeError, match="treshold"):
            await client.submit("s3://a/b", models="patches", treshold=1)
        with pytest.raises(UnknownJob):
            await client.job("none").status()
        with pytest.raises(AnswerTimeout, match=r"1 worker\(s\) answer a ping"):
            await client.explain("s3://a/b", model="patches").result(timeout=1e-6)

    on_loop(use)


def test_the_loop_goes_on_while_fifty_answers_are_awaited_without_fifty_threads(on_loop, photos):
    late, threads = [], []

    async def tick():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - before - 0.01)
            threads.append(threading.active_count())

    async def use(client):
        await client.explain(photos[0], model="patches")  # what's loaded once, is loaded
        ticker = asyncio.create_task(tick())
        before = threading.active_count()
        uris = [photos[number % len(photos)] for number in range(50)]
        answers = await asyncio.gather(*(client.explain(uri, model="patches") for uri in uris))
        ticker.cancel()
        assert len(answers) == 50
        assert max(threads) <= before + 8
        assert len(late) > 10
        assert max(late) < 0.5

    on_loop(use)


def test_who_stops_waiting_is_forgotten_and_may_wait_again(on_loop, photos):
    async def use(client):
        answer = client.explain(photos[0], model="patches")
        await answer.sent()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await answer
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await answer)[0].class_name
        assert await answer.ready()
        listener = client._blocking._inbox._listener.get()
        assert listener._waiting == {}

    on_loop(use)


def test_a_submit_that_is_cancelled_stops(on_loop):
    taken = []

    def endless():
        while True:
            taken.append(time.monotonic())
            yield f"s3://camfleet/images/{len(taken)}.png"

    async def use(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.submit(endless(), models="patches")
        async with asyncio.timeout(30):
            while taken[-1] > time.monotonic() - 1:  # noqa: ASYNC110  # a thread takes them
                await asyncio.sleep(0.1)

    on_loop(use)


def test_who_waits_is_told_when_the_client_is_closed(worker_environ, worker, model):
    environ = {
        **worker_environ,
        "CAMFLEET_REDIS_URL": worker_environ["CAMFLEET_REDIS_URL"].removesuffix("1") + "6",
    }

    async def use():
        client = AsyncClient.from_environ(environ)  # no worker takes anything there
        waiting = asyncio.ensure_future(client.explain("s3://a/b", model="patches"))
        await asyncio.sleep(0.5)
        await client.close()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await waiting

    asyncio.run(use())
