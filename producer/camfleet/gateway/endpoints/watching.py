"""A job's progress: asked for, waited for, and as a stream of events."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from camfleet.broker.progress import Progress
from camfleet.gateway.access.tokens import SEEN_SECONDS
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.following import Followed
from camfleet.gateway.problems import Problem, answer_to
from camfleet.gateway.sessions import Access
from camfleet.gateway.told import told_progress

POLL_SECONDS = 0.5
COMMENT_SECONDS = 15.0
_RETRY_MILLISECONDS = 3000
_END = ":end"


class WaitQuery(Struct, kw_only=True):
    """Seconds to wait for a change."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


async def status(call: Call) -> Response:
    """Tell the progress, or with `wait` the next one that differs."""
    asked = call.query(WaitQuery)
    job = await own_job(call)
    given = call.request.headers.get("if-none-match")
    start, access = time.monotonic(), Access(call)
    known, progress = given, await job.status()
    while True:
        tag = _tag(progress)
        if known is not None and tag not in known and "*" not in known:
            break
        if known is None and (not asked.wait or progress.ended):
            break
        known = tag if known is None else known
        if time.monotonic() >= start + asked.wait or await _stops(call, POLL_SECONDS):
            break
        await access.check()
        progress = await call.services.following.glance(job.id, POLL_SECONDS / 2)
    if given is not None and tag in given:
        return Response(status_code=304, headers={"ETag": tag})
    return reply(told_progress(progress), headers={"ETag": tag})


async def events(call: Call) -> Response:
    """Stream the progress as server-sent events; see `_stream`."""
    job = await own_job(call)
    seen = call.request.headers.get("last-event-id", "")
    stack = AsyncExitStack()
    try:
        followed = await stack.enter_async_context(call.services.following.follow(job.id))
        if seen.endswith(_END) and seen == _name(followed):
            await stack.aclose()
            return Response(status_code=204)  # which tells an EventSource to stop
    except BaseException:
        await stack.aclose()
        raise
    return _Events(_stream(call, followed, seen), stack)


class _Events(StreamingResponse):
    """Leaves what it follows at its end, also where whoever asked has gone before it began."""

    def __init__(self, events: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            if scope["method"] == "HEAD":  # it has no end
                self.body_iterator = _nothing()
            await super().__call__(scope, receive, send)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def _stream(call: Call, followed: Followed, seen: str) -> AsyncIterator[bytes]:
    """Yield the progress whenever it differs from the one seen, until the job's end.

    Each event is the whole progress, so whoever misses some misses nothing.
    """
    access, told = Access(call), time.monotonic()
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    while not call.services.stopping.is_set():
        changed = followed.changed
        if followed.error is not None:
            yield _event("error", "", bytes(answer_to(followed.error).body))
            return
        name, progress = _name(followed), followed.progress
        if progress is not None and name != seen:
            kind = "end" if progress.ended else "progress"
            yield _event(kind, name, msgspec.json.encode(told_progress(progress)))
            seen = name
        if seen.endswith(_END):
            return
        await _first(call, changed.wait(), SEEN_SECONDS)
        try:
            await access.check()
        except Problem as problem:
            yield _event("error", "", bytes(answer_to(problem).body))
            return
        if time.monotonic() >= told + COMMENT_SECONDS:
            told = time.monotonic()
            yield b": still there\n\n"


def _name(followed: Followed) -> str:
    """Return an event's id: that of Redis; of the last one it says so."""
    ended = followed.progress is not None and followed.progress.ended
    return followed.event + (_END if ended else "")


def _event(kind: str, name: str, data: bytes) -> bytes:
    head = f"event: {kind}\n" + (f"id: {name}\n" if name else "")
    return head.encode() + b"data: " + data + b"\n\n"  # JSON has no line break


async def _stops(call: Call, seconds: float) -> bool:
    """Wait for some seconds; return at once, and True, where the gateway stops."""
    return await _first(call, asyncio.Event().wait(), seconds)


async def _first(call: Call, change: Awaitable[object], seconds: float) -> bool:
    """Return whether something changed within some seconds, or the gateway stops."""
    waiting = (
        asyncio.ensure_future(change),
        asyncio.ensure_future(call.services.stopping.wait()),
    )
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for one in waiting:
            one.cancel()


def _tag(progress: Progress) -> str:
    """Return a weak ETag: what passes by itself, such as time, is no change."""
    lasting = msgspec.structs.replace(
        progress, images_per_second=None, seconds_left=None, seconds_running=0.0
    )
    return f'W/"{hashlib.sha256(msgspec.json.encode(lasting)).hexdigest()[:32]}"'


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job}",
        summary="A job's progress; with wait, once it differs from If-None-Match or from now",
        handler=status,
        scopes=("jobs:read",),
        query=WaitQuery,
        headers={"If-None-Match": "An ETag of an earlier answer"},
        answers={200: Progress, 304: None},
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job}/events",
        summary="A job's progress as server-sent events: progress, then end",
        handler=events,
        scopes=("jobs:read",),
        headers={"Last-Event-ID": "The id of the last event that was seen"},
        answers={200: "text/event-stream", 204: None},
    ),
)
