"""What a review asks for: the keywords of `Client.reviews.create`, checked."""

import secrets
from collections.abc import Iterable
from typing import Any, TypedDict

from camfleet.contract import unused
from camfleet.contract.codec import decode, encode
from camfleet.contract.outputs import DEFAULT_LAYER, DEFAULT_METHOD, Fuse, Method
from camfleet.contract.records import ModelRef
from camfleet.contract.reviews import Accepted, Review, ReviewLimits
from camfleet.contract.schedules import Schedule
from camfleet.errors import InvalidRequest
from camfleet.jobs.callback_url import check_callback
from camfleet.reviews.protected import JOBS
from camfleet.sources.sources import Source

FLOOR = 200  # images on which noise is measured


class ReviewOptions(TypedDict, total=False):
    """What a review asks for, when it runs, and what is too much.

    `model` is what is reviewed: an id for the version that was added last (the default: the
    baseline's id), `id@alias` or `id@version`. `every` is a cron expression in `timezone`;
    `on_register` reviews each version that is added. `limit` is of movement, `limit_flips`,
    `limit_lost`, `limit_classes` and `limit_places` are as in comparisons; `floor` is the number of
    images on which noise is measured. `callback` is an http(s) URL that is told of each verdict.
    """

    model: str | None
    every: str | None
    timezone: str
    on_register: bool
    callback: str | None
    limit: float | None
    limit_flips: float | None
    limit_lost: float | None
    limit_classes: float | None
    limit_places: int
    floor: int
    method: Method
    layer: str
    fuse: Fuse | None


def draft(
    name: str, source: Source | Iterable[Source], ref: ModelRef, options: ReviewOptions, now: float
) -> Review:
    """Return the review that is wanted, checked, without its set; `ref` is the baseline.

    `now` is the time by Redis' clock.

    Raises `InvalidRequest`, and `TypeError` for a keyword that doesn't exist.
    """
    for word in options:
        if word not in ReviewOptions.__annotations__:
            raise TypeError(
                f"no keyword {word}: there are {', '.join(ReviewOptions.__annotations__)}"
            )
    unused.refuse(unused.of_layers(options.get("fuse"), options.get("layer", DEFAULT_LAYER)))
    every, callback = options.get("every"), options.get("callback")
    schedule = Schedule(cron=every, timezone=options.get("timezone", "UTC")) if every else None
    if schedule:
        schedule.check()
    elif "timezone" in options:
        raise InvalidRequest("timezone does nothing without every, whose hours it's about")
    if callback is not None:
        check_callback(callback)
    model = options.get("model") or ref.id
    job_id = f"{JOBS}{name}-base-{secrets.token_hex(4)}"
    accepted = Accepted(model=ref, job_id=job_id)
    limits = ReviewLimits(
        movement=options.get("limit"),
        flips=options.get("limit_flips"),
        lost=options.get("limit_lost"),
        classes=options.get("limit_classes"),
        places=options.get("limit_places", 0),
    )
    sources = [source] if isinstance(source, str) or not isinstance(source, Iterable) else source
    made = Review(
        name=name,
        created_at=now,
        sources=tuple(str(one)[:1000] for one in sources),
        baseline=accepted,
        first=accepted,
        set=None,
        model=model,
        method=options.get("method", DEFAULT_METHOD),
        layer=options.get("layer", DEFAULT_LAYER),
        fuse=options.get("fuse"),
        limits=limits,
        accepted=0.0,
        floor=options.get("floor", FLOOR),
        schedule=schedule,
        on_register=options.get("on_register", False),
        callback=callback,
        paused=False,
    )
    return decode(encode(made), Review)


def is_same(one: Review, other: Review) -> bool:
    """Return whether two reviews ask for the same, whenever they were begun."""
    kept = {"created_at": 0.0, "baseline": None, "first": None}
    return _plain(one) | kept == _plain(other) | kept and one.baseline.model == other.baseline.model


def _plain(review: Review) -> dict[str, Any]:
    return encode(review)
