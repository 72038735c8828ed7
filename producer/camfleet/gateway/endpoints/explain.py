"""Explaining one image: now, or with an answer to be asked for later."""

import asyncio
import re
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from camfleet.contract.results import Result
from camfleet.errors import InvalidRequest
from camfleet.gateway.access.limits import Place
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import received, served
from camfleet.gateway.endpoints.options import Inputs, Options, keywords
from camfleet.gateway.problems import Problem
from camfleet.interactive.answer import Answer
from camfleet.jobstore import keys

DEFAULT_WAIT = 30.0  # seconds
LONGEST_WAIT = 60.0
_BYTES = 2**20
_PICTURE_BYTES = 2**28
_WAIT = re.compile(r"wait=(\d{1,9})")
_ANSWER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Question(Options, kw_only=True):
    """One image by its URI, and what is asked of it."""

    image: str
    model: str
    inputs: Inputs | None = None


class PictureQuestion(Options, kw_only=True):
    """What is asked of the image that is the body."""

    model: str


class Rows(Struct, kw_only=True):
    """An answer: a row per target, the strongest first."""

    id: str
    results: tuple[Result, ...]


class Pending(Struct, kw_only=True):
    """An answer that isn't there yet."""

    id: str
    state: str = "pending"


async def explain(call: Call) -> Response:
    wait = _wait(call.request.headers.get("prefer", ""))
    async with call.services.admission.request(call.whose) as place:
        image, options = await _question(call)
        sent = await call.services.threads.quick(lambda: _send(call, place, image, options))
    return await _answer(call, sent, wait)


async def _question(call: Call) -> tuple[str, dict[str, Any]]:
    """Return the image that a request is about, and keywords of `Client.explain`."""
    if call.media_type == "application/json":
        asked = await call.json(Question, _BYTES)
        call.services.policy.check_image(asked.image)
        return asked.image, {"model": asked.model, "inputs": asked.inputs, **keywords(asked)}
    if call.media_type in received.MANIFESTS:
        raise Problem(415, "unsupported_media_type", "send an image, or JSON that names one")
    about = call.query(PictureQuestion)
    return await received.store(call), {"model": about.model, **keywords(about)}


def _send(call: Call, place: Place, image: str, options: dict[str, Any]) -> Answer:
    """Send the question to the workers, and note whose it is."""
    answer = call.services.blocking.explain(image, **options)
    place.sent(answer.id)
    call.services.answers.note(answer.id, call.owner)
    return answer


async def _answer(call: Call, sent: Answer, wait: float) -> Response:
    """Return the rows, or after `wait` seconds where they'll be; at once while we stop."""
    if wait:
        waiting = asyncio.wrap_future(sent.expect())
        stopping = asyncio.ensure_future(call.services.stopping.wait())
        try:
            await asyncio.wait(
                (waiting, stopping), timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done():
                return reply(Rows(id=sent.id, results=sent.read(await waiting)))
        finally:
            waiting.cancel()
            stopping.cancel()
    location = f"{call.services.root_path}/v1/answers/{sent.id}"
    return reply(Pending(id=sent.id), 202, {"Location": location, "Retry-After": "1"})


async def answer(call: Call) -> Response:
    results = await _results(call)
    if results is None:
        return reply(Pending(id=call.path("answer")), 202, {"Retry-After": "1"})
    return reply(Rows(id=call.path("answer"), results=results))


async def picture(call: Call) -> Response:
    """Give one of an answer's pictures: to whoever may see the answer, and as what it is."""
    kind, rank = call.path("kind"), call.path("rank")
    rows = await _results(call) or ()
    row = next((row for row in rows if str(row.rank) == rank), None)
    uri = getattr(row, f"{kind}_uri") if row and kind in keys.PICTURES else None
    storage = call.services.blocking.storage
    if uri is None or not uri.startswith(storage.uri(keys.pictures())):
        raise Problem(404, "not_found", "no such picture: the question may not have asked for it")
    await call.large()
    found = await call.services.threads.long(lambda: storage.get(uri, limit=_PICTURE_BYTES))
    return Response(found.data, headers=served.LONG, media_type=keys.PICTURES[kind][1])


async def _results(call: Call) -> tuple[Result, ...] | None:
    """Return the rows of an answer, None if it isn't there yet; raise a `Problem` for none."""
    answer_id = call.path("answer")
    owner = None
    if _ANSWER_ID.fullmatch(answer_id):
        owner = await call.services.threads.quick(lambda: call.services.answers.owner_of(answer_id))
    if owner is None or not (owner == call.owner or call.is_admin):
        raise Problem(404, "unknown_answer", "no such answer, or it's kept no longer")
    found = await call.client.answer(answer_id)
    return None if found is None else tuple(found)


def _wait(prefer: str) -> float:
    """Return how many seconds a caller prefers to wait (RFC 7240), 0 for not at all."""
    words = [word.strip().lower() for word in prefer.split(",")]
    if "respond-async" in words:
        return 0.0
    for word in words:
        if word.startswith("wait"):
            found = _WAIT.fullmatch(word)
            if not found:
                raise InvalidRequest(f"Prefer: {word[:80]} is not of the form wait=SECONDS")
            return min(float(found[1]), LONGEST_WAIT)
    return DEFAULT_WAIT


_PREFER = {"Prefer": f"wait=SECONDS, at most {LONGEST_WAIT:g}, or respond-async"}

ROUTES = (
    Route(
        method="POST",
        path="/v1/explain",
        summary="Explain one image: by its URI in JSON, or as the body, with options in the query",
        handler=explain,
        scopes=("explain",),
        query=PictureQuestion,
        body=Question,
        uploads=received.IMAGES,
        headers=_PREFER,
        answers={200: Rows, 202: Pending},
    ),
    Route(
        method="GET",
        path="/v1/answers/{answer}",
        summary="The rows of an earlier question",
        handler=answer,
        scopes=("explain",),
        answers={200: Rows, 202: Pending},
    ),
    Route(
        method="GET",
        path="/v1/answers/{answer}/{rank}/{kind}",
        summary="A picture of an answer's row: heatmap, overlay, raw or thumbnail",
        handler=picture,
        scopes=("explain",),
        answers={200: tuple(dict.fromkeys(kind for _, kind in keys.PICTURES.values()))},
    ),
)
