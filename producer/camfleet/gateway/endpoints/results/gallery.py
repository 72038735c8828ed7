"""A job's gallery: any page of its rows, filtered and sorted, by an index that a worker writes."""

from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.broker.progress import Progress
from camfleet.contract.errands import GalleryErrand, id_of
from camfleet.contract.records import JobRecord
from camfleet.gateway.access.limits import TOO_MANY_ERRANDS
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.endpoints.results import later
from camfleet.gateway.endpoints.results.pages import Cursor, read_page
from camfleet.gateway.problems import Problem
from camfleet.jobs.job import Job
from camfleet.results.gallery.document import STATUSES
from camfleet.results.gallery.wanted import Facets, Sort, Wanted

if TYPE_CHECKING:
    from camfleet.results.gallery.read import Gallery

MOST_ROWS = 500
_READ = (
    *("item_id", "model_id", "model_version", "rank", "status", "error_code", "class_index"),
    *("class_name", "probability", "focus", "label"),
)
_ONLY_INDEXED = ("label", "min_border_share", "max_border_share", "sort", "first")


class GalleryQuery(Wanted, frozen=True, kw_only=True):
    """Which rows, in which order, from the `first` on, counted from 0.

    Before there's an index, pages come by `cursor`: whoever has begun so may go on to the end.
    """

    BEYOND: ClassVar[str] = (
        "; further rows come by first, all rows by /results, and all pictures by /exports"
    )
    sort: Sort | None = None
    first: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100
    cursor: str | None = None


class GalleryRow(Struct, kw_only=True):
    """A row, named PART:ROW, and what a tile shows of it."""

    row: str
    item_id: str | None
    model: str
    rank: int
    status: str
    error_code: str | None
    class_index: int | None
    class_name: str | None
    probability: float | None
    border_share: float | None
    label: str | None


class GalleryPage(Struct, kw_only=True):
    """Some rows. `total` are all of the job, `matching` those that pass the filters.

    `index` says whether there's an index: `done` it is; `waiting`, `in_work`: a worker writes it;
    `none`: the job hasn't ended; `failed`: `note` says why. Without one nobody has counted, and
    `next` is the cursor of the next page, null for none.
    """

    index: later.State
    note: str | None
    total: int | None
    matching: int | None
    first: int
    rows: tuple[GalleryRow, ...]
    next: str | None


async def page(call: Call) -> Response:
    asked = call.query(GalleryQuery)
    job_id = (await own_job(call)).id

    def read() -> GalleryPage:
        job = call.services.blocking.job(job_id)
        record = call.services.reading.record(job_id)
        state, gallery = _find(call, record, job.status())
        if gallery and asked.cursor is None:
            return _indexed(gallery, asked)
        return _so_far(call, job, record, state, asked)

    return reply(await call.services.threads.long(read))


async def facets(call: Call) -> Response:
    asked = call.query(Wanted)
    job_id = (await own_job(call)).id

    def read() -> Facets:
        from camfleet.results.gallery import query

        record = call.services.reading.record(job_id)
        state, gallery = _find(call, record, call.services.blocking.job(job_id).status())
        if gallery is None:
            raise not_ready(state.note or "the gallery's index isn't there yet")
        return query.facets(gallery, asked)

    return reply(await call.services.threads.long(read))


async def rebuild(call: Call) -> Response:
    """Have a worker write the index, also where that has failed."""
    job_id = (await own_job(call)).id
    await call.services.admission.errand(call.whose)

    def start() -> later.Made:
        progress = call.services.blocking.job(job_id).status()
        errand = GalleryErrand(results=later.results_of(progress))
        return later.made(later.start(call.services, job_id, errand, call.owner))

    told = await call.services.threads.long(start)
    return later.started(call, job_id, "gallery", told)


def not_ready(why: str) -> Problem:
    return Problem(409, "gallery_not_ready", why, {"Retry-After": "2"})


def _find(call: Call, record: JobRecord, progress: Progress) -> "tuple[later.Made, Gallery | None]":
    """Return the gallery of a job's present results; where there's none, have it made."""
    from camfleet.results.gallery.read import Gallery

    if not progress.ended:
        return later.NOTHING, None
    errand = GalleryErrand(results=later.results_of(progress))
    name, files = id_of(errand), call.services.reading.galleries
    if head := files.head(record, name):
        return later.Made(id=name, state="done"), Gallery(record, name, head, files)
    found = later.find(call.services, record.job_id, name)
    if found is None or found.outcome.state == "done":  # then somebody has deleted the index
        if not call.services.admission.counts_errand(call.whose):
            return later.Made(id=None, state="failed", note=TOO_MANY_ERRANDS), None
        found = later.start(call.services, record.job_id, errand, call.owner, again=True)
    return later.made(found), None


def _indexed(gallery: "Gallery", asked: GalleryQuery) -> GalleryPage:
    from camfleet.results.gallery.query import Found
    from camfleet.results.gallery.read import name_of

    found = Found(gallery, asked, asked.sort)
    numbers = found.page(asked.first, asked.limit)
    head, models = gallery.head, gallery.record.models
    names = ("status", "rank", "model", "class", "label", "code", "probability", "border_share")
    view = {name: gallery.view(name) for name in names} if numbers else {}
    rows = []
    for number, item_id in zip(numbers, gallery.ids(numbers), strict=True):
        part, row = gallery.place(number)
        index, name = name_of(head.classes, view["class"][number]) or (None, None)
        model = name_of(models, view["model"][number])
        rows.append(
            GalleryRow(
                row=f"{part}:{row}",
                item_id=item_id,
                model=f"{model.id}@{model.version}" if model else "",
                rank=view["rank"][number],
                status=name_of(STATUSES, view["status"][number]) or "",
                error_code=name_of(head.codes, view["code"][number]),
                class_index=index,
                class_name=name,
                probability=_known(view["probability"][number]),
                border_share=_known(view["border_share"][number]),
                label=name_of(head.labels, view["label"][number]),
            )
        )
    return GalleryPage(
        index="done",
        note=None,
        total=head.rows,
        matching=found.rows,
        first=asked.first,
        rows=tuple(rows),
        next=None,
    )


def _so_far(
    call: Call, job: Job, record: JobRecord, state: later.Made, asked: GalleryQuery
) -> GalleryPage:
    """Return a page by reading results parts, as far as they're there."""
    from camfleet.results.query import Selection

    selection = Selection.of(record, _READ, _filters(asked))
    start = Cursor.parse(asked.cursor, record)
    storage = call.services.blocking.storage
    found = read_page(job, record, storage, selection, start, asked.limit)
    rows = [
        _row(number, row, plain)
        for (number, numbers), table in zip(found.places, found.tables, strict=True)
        for row, plain in zip(numbers, table.to_pylist(), strict=True)
    ]
    return GalleryPage(
        index=state.state,
        note=state.note,
        total=None,
        matching=None,
        first=0,
        rows=tuple(rows),
        next=str(found.next) if found.next else None,
    )


def _filters(asked: GalleryQuery) -> dict[str, Any]:
    """Return the filters of `Job.results`; raise a `Problem` for what needs the index."""
    for name in _ONLY_INDEXED:
        if getattr(asked, name):
            raise not_ready(f"{name} needs the gallery's index, which isn't there yet")
    names = set(Wanted.__struct_fields__) - set(_ONLY_INDEXED)
    given = {name: getattr(asked, name) for name in names}
    return {name: value for name, value in given.items() if value not in (None, ())}


def _row(part: int, row: int, plain: dict[str, Any]) -> GalleryRow:
    same = ("item_id", "rank", "status", "error_code", "class_index", "class_name", "label")
    return GalleryRow(
        row=f"{part}:{row}",
        model=f"{plain['model_id']}@{plain['model_version']}",
        probability=_known(plain["probability"]),
        border_share=_known(plain["focus"] and plain["focus"]["border_share"]),
        **{name: plain[name] for name in same},
    )


def _known(value: float | None) -> float | None:
    """Return a number as it's shown: NaN is none, and 7 digits are all that was kept."""
    return None if value is None or isnan(value) else round(value, 7)


_GET = partial(Route, method="GET", scopes=("jobs:read",))


ROUTES = (
    _GET(
        path="/v1/jobs/{job}/gallery",
        summary="A page of a job's rows, filtered and sorted, by an index",
        handler=page,
        query=GalleryQuery,
        answers={200: GalleryPage},
    ),
    _GET(
        path="/v1/jobs/{job}/gallery/facets",
        summary="How the rows of a gallery spread: counts and histograms",
        handler=facets,
        query=Wanted,
        answers={200: Facets},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job}/gallery",
        summary="Have a worker write the gallery's index, also where that has failed",
        handler=rebuild,
        scopes=("jobs:write",),
        answers={202: later.Made},
    ),
)
