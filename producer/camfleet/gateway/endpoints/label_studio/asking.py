"""Tasks that are explained while Label Studio waits: as images are for anybody else."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from camfleet.contract.results import Result
from camfleet.errors import AnswerTimeout
from camfleet.exports.images import Count, Image, Places, image_of
from camfleet.gateway.calls import Call
from camfleet.gateway.label_studio.plans import Plan
from camfleet.gateway.label_studio.recent import Explained, Recent
from camfleet.gateway.problems import Problem
from camfleet.interactive.answer import Answer

IN_WORK = 16  # images of one selection at a time
_ANSWER_SECONDS = 120.0
_PAUSE = 0.2  # seconds until a token that has too much in work is asked again
_TOO_MANY = 429


async def predict(
    call: Call, plan: Plan, uri: str, recent: Recent, turns: asyncio.Semaphore, until: float
) -> dict[str, Any] | None:
    """Return the prediction of one image, None where there's nothing to show.

    No worker is asked after `until`, by the event loop's clock: nobody waits any more. Raises
    what is wrong with the image, and `Problem`.
    """
    key = (call.owner, plan.model.digest, plan.version, _frozen(plan.asked), uri)

    async def ask() -> Explained:
        try:
            async with asyncio.timeout_at(until):
                await turns.acquire()
        except TimeoutError:
            raise AnswerTimeout("the images before this one took too long") from None
        try:
            return await _explain(call, plan, uri, until)
        finally:
            turns.release()

    found = await recent.get(call.owner, key, ask)
    return await call.services.threads.long(lambda: _prediction(plan, found))


async def _explain(call: Call, plan: Plan, uri: str, until: float) -> Explained:
    sent = await _send(call, plan, uri, until)
    waiting = asyncio.wrap_future(sent.expect())
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            rows = sent.read(await waiting)
    except TimeoutError:
        raise AnswerTimeout(f"no answer within {_ANSWER_SECONDS:g} s") from None
    finally:
        waiting.cancel()
    raw = None
    if rows[0].raw_uri:
        raw = await call.services.threads.quick(lambda: _raw(call, rows[0]))
    return Explained(rows, raw)


async def _send(call: Call, plan: Plan, uri: str, until: float) -> Answer:
    """Send the question once the token has room for it; raise the `Problem` if it never has."""
    loop = asyncio.get_running_loop()
    asked = {**plan.asked, "pictures": ["raw"] if plan.predictions.heat else []}
    while True:
        try:
            async with call.services.admission.request(call.whose) as place:
                answer = call.client.explain(uri, model=plan.model, **asked)
                sent = await answer.sent()
                await call.services.threads.quick(partial(place.sent, sent.id))
                return sent
        except Problem as problem:
            if problem.status != _TOO_MANY or loop.time() + _PAUSE > until:
                raise
        await asyncio.sleep(_PAUSE)


def _raw(call: Call, row: Result) -> bytes:
    from camfleet.exports.raw_map import most_bytes

    assert row.raw_uri
    limit = most_bytes((row.grid_height or 0, row.grid_width or 0))
    return call.services.blocking.storage.get(row.raw_uri, limit=limit).data


def _prediction(plan: Plan, found: Explained) -> dict[str, Any] | None:
    rows = [msgspec.to_builtins(row) for row in found.rows]
    if found.raw is not None:
        from camfleet.exports.raw_map import read_raw

        grid = rows[0]["grid_height"] or 0, rows[0]["grid_width"] or 0
        rows[0]["map"] = read_raw(found.raw, grid)
    image = image_of(rows, plan.labels, Places(), Count())
    return plan.predictions.of(image) if isinstance(image, Image) else None


def _frozen(asked: Mapping[str, Any]) -> str:
    with suppress(TypeError):
        return msgspec.json.encode(dict(asked), order="deterministic").decode()
    return repr(asked)
