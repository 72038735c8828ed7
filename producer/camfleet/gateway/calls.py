"""A request as handlers see it: whose it is, and its parts, checked and bounded."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from camfleet.aio.client import AsyncClient
from camfleet.broker.answers import AnswerOwners
from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.listing import JobListing
from camfleet.broker.sessions import Sessions
from camfleet.client import Client
from camfleet.contract.choices import with_choices
from camfleet.contract.tokens import Scope, TokenRecord
from camfleet.errors import InvalidRequest
from camfleet.gateway.access.crowd import Crowd
from camfleet.gateway.access.limits import Admission
from camfleet.gateway.access.owners import JobOwners
from camfleet.gateway.access.policy import SourcePolicy
from camfleet.gateway.access.recognizer import Recognizer
from camfleet.gateway.access.tokens import TokenChecker
from camfleet.gateway.access.turns import FairThreads, Turns
from camfleet.gateway.following import Following
from camfleet.gateway.label_studio.shared import Backend
from camfleet.gateway.probe import Probe
from camfleet.gateway.problems import Problem
from camfleet.gateway.prometheus import Metrics
from camfleet.gateway.reading import Reading

JSON_BYTES = 8 * 2**20
MOST_STREAMS = 16  # of rows, archives and photographs at a time; an owner has half at most
MOST_WAITING = 64  # dry runs, which wait for a worker's answer, likewise
MOST_LARGE = 16  # answers that are large and in memory, until they're taken; likewise
MOST_BODIES = 32  # JSON bodies that are large, until they're decoded; likewise
MOST_MADE = 16  # pictures that workers make for an owner at a time
# What JSON may have of each, wherever it stands: all other requests wait while it's decoded.
MOST_OF = {"{": (50_000, "objects"), ":": (250_000, "colons"), ",": (500_000, "commas")}
_SMALL = 2**16  # bytes of JSON that wait for no turn
IDLE_SECONDS = 15.0  # between two pieces of a body
JSON_SECONDS = 30.0  # for all of a JSON body
LEISURE_SECONDS = 30.0  # after which a body must have come at some rate
LEAST_RATE = 8 * 2**10  # bytes per second

S = TypeVar("S", bound=Struct)


@dataclass
class Services:
    """What all requests share; made once for a process."""

    client: AsyncClient
    blocking: Client
    tokens: TokenChecker
    recognizer: Recognizer
    sessions: Sessions
    answers: AnswerOwners
    policy: SourcePolicy
    owners: JobOwners
    listing: JobListing
    admission: Admission
    metrics: Metrics
    following: Following
    probe: Probe
    image_bytes: int  # of an upload, at most
    hosts: frozenset[str]  # that callers may ask for, in lower case
    root_path: str  # below which a proxy in front serves us: "/camfleet", or nothing
    behind_tls: bool
    threads: FairThreads
    downloads: Executor  # a thread for each of the `streams`
    waiting: Executor  # a thread for each of the `dry_runs`
    label_studio: Backend
    reading: Reading
    errands: ErrandsDue
    cards: set[str] = field(default_factory=set)  # digests of models whose cards were there
    streams: Turns = field(default_factory=lambda: Turns(MOST_STREAMS))
    dry_runs: Turns = field(default_factory=lambda: Turns(MOST_WAITING))
    large: Turns = field(default_factory=lambda: Turns(MOST_LARGE))
    bodies: Turns = field(default_factory=lambda: Turns(MOST_BODIES))
    making: dict[str, asyncio.Semaphore] = field(  # pictures by workers, by owner
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(MOST_MADE))
    )
    crowd: Crowd = field(default_factory=Crowd)
    accepting: dict[str, tuple[Struct, asyncio.Future[Any]]] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Call:
    """One request of somebody who may make it."""

    request: Request
    services: Services
    token: TokenRecord | None  # None where none is needed
    session: str | None = None  # the secret of a browser's session, where that stands for the token
    ending: AsyncExitStack = field(default_factory=AsyncExitStack)  # once the answer was taken

    @property
    def client(self) -> AsyncClient:
        return self.services.client

    @property
    def whose(self) -> TokenRecord:
        assert self.token is not None  # of all routes that ask
        return self.token

    @property
    def owner(self) -> str:
        return self.whose.owner

    @property
    def is_admin(self) -> bool:
        return self.token is not None and "admin" in self.token.scopes

    async def large(self) -> None:
        """Wait for the turn of an answer that may be large, and is in memory until it's taken."""
        await self.ending.enter_async_context(self.services.large.turn())

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, kind: type[S]) -> S:
        """Return the query; raise `InvalidRequest` naming the parameter.

        Of a `limit` out of bounds it says what the kind's `BEYOND` says.
        """
        asked, given = self.request.query_params, {}
        hints = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for name in asked:
            if name not in hints:
                there = ", ".join(hints)
                raise InvalidRequest(f"there's no parameter {name[:80]!r}; there are {there}")
            values = asked.getlist(name)
            several = _takes_several(hints[name])
            if len(values) > 1 and not several:
                raise InvalidRequest(f"the parameter {name} stands there {len(values)} times")
            given[name] = values if several else values[0]
        try:
            return msgspec.convert(given, kind, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            beyond = getattr(kind, "BEYOND", "") if "$.limit" in str(error) else ""
            raise InvalidRequest(
                f"a parameter is wrong: {with_choices(error, kind)}{beyond}"
            ) from error

    async def json(self, kind: type[S], limit: int = JSON_BYTES) -> S:
        """Return the body; raise `InvalidRequest` naming the field, or a `Problem`."""
        if self.media_type != "application/json":
            raise Problem(415, "unsupported_media_type", "send JSON, as application/json")
        is_small = self.is_said_small(_SMALL)
        async with nullcontext() if is_small else self.services.bodies.turn():
            return await self._decoded(kind, limit)

    def is_said_small(self, most: int) -> bool:
        """Return whether the body is said to have so many bytes at most."""
        return self.said is not None and self.said <= most

    @property
    def said(self) -> int | None:
        """How many bytes the body is said to have, if anything is said."""
        said = self.request.headers.get("content-length", "")  # h11 takes 20 digits at most
        return int(said) if said.isdecimal() else None

    async def _decoded(self, kind: type[S], limit: int) -> S:
        try:
            async with asyncio.timeout(JSON_SECONDS):
                data = b"".join([piece async for piece in self.pieces(limit)])
        except TimeoutError:
            raise _too_slow() from None
        for sign, (most, name) in MOST_OF.items():
            if data.count(sign.encode()) > most:
                raise Problem(
                    413,
                    "body_too_large",
                    f"the body has more than {most} {name}: send it in parts, or a job's images as "
                    "a manifest",
                )
        try:
            return msgspec.json.decode(data or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"the body: {with_choices(error, kind)}") from error

    async def pieces(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raise a `Problem` where it's too long or too slow."""
        if self.said is not None and self.said > limit:
            raise _too_large(limit)
        size, stream, start = 0, self.request.stream(), time.monotonic()
        while True:
            if time.monotonic() - start > LEISURE_SECONDS + size / LEAST_RATE:
                raise _too_slow()
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _too_slow() from None
            except ClientDisconnect:
                raise Problem(400, "body_cut_off", "the body ended too early") from None
            size += len(piece)  # what it says of its length isn't asked
            if size > limit:
                raise _too_large(limit)
            yield piece

    @property
    def media_type(self) -> str:
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint: what is served, checked and described comes of it.

    `scopes` are those of which a token needs one; `query` and `body` are structs, `uploads` media
    types of a raw body. `answers` has for each status of success what its body is: a type, a
    media type, or None for nothing.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    answers: Mapping[int, Any]
    scopes: tuple[Scope, ...] = ()
    public: bool = False
    basic: bool = False  # the token may come as the password of Basic authentication
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    uploads: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, and what they mean

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(word[1:-1] for word in self.path.split("/") if word.startswith("{"))


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer as JSON."""
    return Response(
        msgspec.json.encode(body), status, dict(headers or {}), media_type="application/json"
    )


def _takes_several(kind: Any) -> bool:
    return any(get_origin(one) is tuple for one in (kind, *get_args(kind)))


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"the body has more than {limit} bytes")


def _too_slow() -> Problem:
    return Problem(408, "body_too_slow", "the body didn't arrive in time; send it again")
