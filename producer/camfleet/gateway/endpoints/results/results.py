"""A job's rows: all of them as a stream, or page by page."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response, StreamingResponse

from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest
from camfleet.gateway.calls import Call, Route
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results.pages import Cursor, read_page
from camfleet.gateway.pipe import Pipe
from camfleet.gateway.problems import Problem
from camfleet.gateway.sessions import Access
from camfleet.jobs.job import Job

if TYPE_CHECKING:
    from camfleet.results.query import Selection

MOST_ROWS = 1000  # of a page
FORMS = {  # the first is the default
    "application/x-ndjson": "json",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}


_MEDIA = {form: media for media, form in FORMS.items()}
_NO_FILTERS = {"where", "column", "maps", "format", "limit", "cursor"}
_SUFFIXES = {"json": "jsonl", "csv": "csv", "parquet": "parquet"}


class ResultsQuery(Struct, kw_only=True):
    """Which rows and columns, as `camfleet results` has them; with `limit`, a page of them."""

    BEYOND: ClassVar[str] = "; without limit all rows come as one stream"
    status: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    class_: tuple[str, ...] = msgspec.field(default=(), name="class")
    rank: tuple[int, ...] = ()
    min_probability: float | None = None
    max_probability: float | None = None
    item: tuple[str, ...] = ()
    image: str | None = None
    where: tuple[str, ...] = ()  # NAME=VALUE
    column: tuple[str, ...] = ()
    maps: bool = False
    format: Literal["json", "csv", "parquet"] | None = None  # in the place of Accept, for a link
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] | None = None
    cursor: str | None = None

    def filters(self) -> dict[str, Any]:
        """Return the filters that were given, as keywords of `Job.results`."""
        names = set(self.__struct_fields__) - _NO_FILTERS
        given = {name: getattr(self, name) for name in names}
        found = {name: value for name, value in given.items() if value not in (None, ())}
        where: dict[str, list[str]] = {}
        for text in self.where:
            name, sign, value = text.partition("=")
            if not sign:
                raise InvalidRequest(f"where={text[:80]!r} is not of the form NAME=VALUE")
            where.setdefault(name, []).append(value)
        return {**found, **({"where": where} if where else {})}


async def results(call: Call) -> Response:
    asked = call.query(ResultsQuery)
    media = _MEDIA[asked.format] if asked.format else _media(call.request.headers.get("accept", ""))
    if asked.cursor is not None and asked.limit is None:
        raise InvalidRequest("a cursor needs a limit: pages have both")
    job_id = (await own_job(call)).id
    services = call.services
    job = services.blocking.job(job_id)
    record, selection = await services.threads.long(lambda: _select(call, job, FORMS[media], asked))
    if asked.limit is not None:
        return await _page(call, job, record, selection, media, asked)
    state = (await services.threads.quick(job.status)).state
    rows = Pipe(asyncio.get_running_loop()).stream(
        services.downloads, partial(_write, call, job, record, selection, FORMS[media])
    )
    pieces = in_turn(rows, call)
    first = await anext(pieces, b"")  # what is wrong at once is told as a problem
    headers: dict[str, str] = {"Camfleet-Job-State": state}
    if asked.format:
        name = f"{job_id}.{_SUFFIXES[asked.format]}"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return StreamingResponse(_rest(first, pieces), headers=headers, media_type=media)


async def in_turn(pieces: AsyncGenerator[bytes, None], call: Call) -> AsyncGenerator[bytes, None]:
    """Yield pieces once it's their turn: slow readers keep few waiting but themselves.

    Raises a `Problem` once the token has ended.
    """
    access = Access(call)
    async with call.services.streams.turn(), aclosing(pieces):
        async for piece in pieces:
            await access.check()
            yield piece


async def _rest(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def _page(
    call: Call, job: Job, record: JobRecord, selection: "Selection", media: str, asked: ResultsQuery
) -> Response:
    """Return some rows, and where the next ones are as a link."""
    from camfleet.results.export import FORMATS

    start, limit = Cursor.parse(asked.cursor, record), asked.limit or MOST_ROWS
    storage = call.services.blocking.storage

    def read() -> tuple[bytes, Cursor | None]:
        page = read_page(job, record, storage, selection, start, limit)
        sink = io.BytesIO()
        FORMATS[FORMS[media]](page.tables, selection.schema, sink)
        return sink.getvalue(), page.next

    await call.large()
    body, after = await call.services.threads.long(read)
    headers = {}
    if after is not None:
        given = [pair for pair in call.request.query_params.multi_items() if pair[0] != "cursor"]
        query = urlencode([*given, ("cursor", str(after))])
        headers["Link"] = f'<{call.services.root_path}{call.request.url.path}?{query}>; rel="next"'
    return Response(body, headers=headers, media_type=media)


def _select(call: Call, job: Job, form: str, asked: ResultsQuery) -> "tuple[JobRecord, Selection]":
    from camfleet.results import classes
    from camfleet.results.export import columns_for
    from camfleet.results.query import Selection

    record, filters = job.record(), asked.filters()
    columns = columns_for(form, asked.column, maps=asked.maps)
    selection = Selection.of(record, columns, filters)
    storage = call.services.blocking.storage
    classes.refuse_unknown(record, storage, selection, filters.get("class_"))
    return record, selection


def _write(
    call: Call, job: Job, record: JobRecord, selection: "Selection", form: str, sink: Pipe
) -> None:
    """Write all rows; raise `ObjectMissing`, at the end, for parts that are gone."""
    from camfleet.results.coverage import Reading
    from camfleet.results.export import FORMATS

    reading = Reading(record, call.services.blocking.storage, selection)
    with closing(reading.tables()) as tables:
        FORMATS[form](tables, selection.schema, sink)  # type: ignore[arg-type]  # it's one
    reading.refuse_losses(job)


def _media(accept: str) -> str:
    """Return the media type of the answer; raise a `Problem` where none is accepted."""
    words = [word.partition(";")[0].strip().lower() for word in accept.split(",")]
    for word in words:
        if word in FORMS:
            return word
    if not accept or {"*/*", "application/*"} & set(words):
        return next(iter(FORMS))
    raise Problem(406, "not_acceptable", f"rows come as {', '.join(FORMS)}")


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job}/results",
        summary="A job's rows: all as a stream, or with limit a page and a Link to the next",
        handler=results,
        scopes=("jobs:read",),
        query=ResultsQuery,
        headers={"Accept": f"One of {', '.join(FORMS)}"},
        answers={200: tuple(FORMS)},
    ),
)
