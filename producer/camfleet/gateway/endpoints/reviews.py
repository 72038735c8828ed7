"""Reviews of new versions of models. They belong to no owner, so they're admins'."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.contract import reviews
from camfleet.contract.reviews import StartedRun
from camfleet.contract.times import Time, time_of
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.results import later
from camfleet.gateway.endpoints.results.comparisons import FILES
from camfleet.gateway.problems import Problem
from camfleet.gateway.told import Review, ReviewChange, ReviewState, ReviewVerdict, told
from camfleet.jobs.reviews.looking import ReviewStatus
from camfleet.jobs.reviews.reviews import Reviews
from camfleet.jobstore import review_keys

_MOST_FILE = 2**28  # bytes
_PATIENCE = 25.0  # seconds that an answer may take
_Reason = Annotated[str, Meta(min_length=1, max_length=1000)]


class ReviewRow(Struct, kw_only=True):
    """A review, what was started last, its latest verdict, and when it's due next."""

    review: Review
    state: ReviewState
    verdict: ReviewVerdict | None
    due: Time | None


class ReviewList(Struct, kw_only=True):
    reviews: tuple[ReviewRow, ...]


class ReviewHistory(Struct, kw_only=True):
    """Who changed a review, and what came of its runs: each the newest first."""

    changes: tuple[ReviewChange, ...]
    verdicts: tuple[ReviewVerdict, ...]


class RunRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is reviewed, as `id`, `id@version` or `id@alias`; null: as the review says."""

    model: str | None = None


class AcceptRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which version becomes the baseline, null: that of the last run; and why."""

    reason: _Reason
    model: str | None = None


class PauseRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    paused: bool
    reason: _Reason | None = None


async def list_(call: Call) -> Response:
    found = await call.client.reviews.list()
    return reply(ReviewList(reviews=tuple(map(_row, found))))


async def show(call: Call) -> Response:
    return reply(_row(await _with_own(call, Reviews.show)))


async def history(call: Call) -> Response:
    found = await _with_own(call, Reviews.history)
    return reply(
        ReviewHistory(
            changes=tuple(
                told(one, ReviewChange) for one in found if isinstance(one, reviews.ReviewChange)
            ),
            verdicts=tuple(
                told(one, ReviewVerdict) for one in found if isinstance(one, reviews.ReviewVerdict)
            ),
        )
    )


async def run(call: Call) -> Response:
    """Start a run; a worker judges it at the end."""
    asked = await call.json(RunRequest)
    started = await _with_own(call, partial(Reviews.start, model=asked.model))
    return reply(started, 202)


async def accept(call: Call) -> Response:
    """Make a version the baseline; where noise has to be measured first, that goes on."""
    asked = await call.json(AcceptRequest)
    name, running = call.path("review"), call.services.accepting
    if name not in running:
        verb = partial(Reviews.accept, model=asked.model, reason=asked.reason)
        running[name] = asked, asyncio.ensure_future(_with_own(call, verb))
        running[name][1].add_done_callback(lambda _done: running.pop(name))
    before, work = running[name]
    if before != asked:
        raise Problem(409, "being_accepted", "another version of this review is being accepted")
    await asyncio.wait([work], timeout=_PATIENCE)
    if not work.done():
        raise Problem(
            503,
            "measuring",
            "workers measure the noise of that version first: repeat this, it goes on where it is",
        )
    return reply(told(await work, Review))


async def pause(call: Call) -> Response:
    asked = await call.json(PauseRequest)
    verb = Reviews.pause if asked.paused else Reviews.resume
    return reply(told(await _with_own(call, partial(verb, reason=asked.reason)), Review))


async def file(call: Call) -> Response:
    """Give a file of a run's comparison with the baseline, or with the first one."""
    names = [call.path(one) for one in ("review", "run", "file")]

    def read() -> Response:
        review, of_run, name = names
        first = name.startswith("first-")
        prefix = (review_keys.first if first else review_keys.run)(review, of_run)
        known = review_keys.name_of(review_keys.folder(review)) == review
        known = known and review_keys.run_of(review_keys.run(review, of_run), review) == of_run
        if not known or name.removeprefix("first-") not in FILES:
            raise Problem(404, "not_found", f"a run has {', '.join(FILES)}, and first-... of each")
        data = later.read_file(call.services, prefix, name.removeprefix("first-"), _MOST_FILE)
        return served.file(data, name)

    return await call.services.threads.long(read)


async def _with_own(call: Call, verb: Callable[..., Any]) -> Any:
    """Do something with the review of the path; raise a `Problem` where there's none."""
    name, user = call.path("review"), call.owner

    def do() -> Any:
        reviews = call.services.blocking.reviews_of(user)
        if name not in reviews.names():
            raise Problem(404, "not_found", "there is no such review")
        return verb(reviews, name)

    return await call.services.threads.long(do)


def _row(found: ReviewStatus) -> ReviewRow:
    return ReviewRow(
        review=told(found.review, Review),
        state=told(found.state, ReviewState),
        verdict=told(found.verdict, ReviewVerdict) if found.verdict else None,
        due=None if found.due is None else time_of(found.due),
    )


_GET = partial(Route, method="GET", scopes=("admin",))
_POST = partial(Route, method="POST", scopes=("admin",))

ROUTES = (
    _GET(
        path="/v1/reviews",
        summary="All reviews, how they stand, and when they're due",
        handler=list_,
        answers={200: ReviewList},
    ),
    _GET(
        path="/v1/reviews/{review}",
        summary="A review, and how it stands",
        handler=show,
        answers={200: ReviewRow},
    ),
    _GET(
        path="/v1/reviews/{review}/history",
        summary="Who changed a review and why, and all its verdicts",
        handler=history,
        answers={200: ReviewHistory},
    ),
    _POST(
        path="/v1/reviews/{review}/run",
        summary="Start a run, which a worker judges",
        handler=run,
        body=RunRequest,
        answers={202: StartedRun},
    ),
    _POST(
        path="/v1/reviews/{review}/accept",
        summary="Make a version that was reviewed the baseline",
        handler=accept,
        body=AcceptRequest,
        answers={200: Review},
    ),
    _POST(
        path="/v1/reviews/{review}/pause",
        summary="Let a review run only where somebody asks for that, or by itself again",
        handler=pause,
        body=PauseRequest,
        answers={200: Review},
    ),
    _GET(
        path="/v1/reviews/{review}/runs/{run}/{file}",
        summary="A file of a run's comparison with the baseline, or (first-...) with the first one",
        handler=file,
        answers={200: served.FILES},
    ),
)
