"""What a job is: what was asked, and what became of its sources; `watching` says how far it is."""

from msgspec import Struct
from starlette.responses import Response

from camfleet.contract.outputs import Fuse, Method, Outputs, Precision
from camfleet.contract.records import LeftOut, ModelRef
from camfleet.contract.times import Time, time_of
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.jobs import own_job

_MOST_MESSAGE = 1000  # characters


class About(Struct, kw_only=True):
    """What was asked of a job, as its record has it.

    `items` are the images of its sources, without `duplicates` and what was `left_out`; each is
    explained by every model. `messages` has the first message of each error code.
    """

    job_id: str
    created_at: Time
    owner: str | None
    models: tuple[ModelRef, ...]
    target: str
    method: Method
    layer: str
    fuse: Fuse | None
    precision: Precision
    outputs: Outputs
    items: int
    duplicates: int
    left_out: tuple[LeftOut, ...]
    chunk_size: int
    packs: bool
    messages: dict[str, str]


async def about(call: Call) -> Response:
    job = await own_job(call)
    record = await job.record()
    failed = (await job.status()).failed
    return reply(
        About(
            job_id=record.job_id,
            created_at=time_of(record.created_at),
            owner=record.owner,
            models=record.models,
            target=record.target,
            method=record.method,
            layer=record.layer,
            fuse=record.fuse,
            precision=record.precision,
            outputs=record.outputs,
            items=record.items,
            duplicates=record.duplicates,
            left_out=tuple(await job.left_out()),
            chunk_size=record.chunk_size,
            packs=record.pack,
            messages={
                code: text[:_MOST_MESSAGE]
                for code, text in (await job.first_failures() if failed else {}).items()
            },
        )
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job}/about",
        summary="What was asked of a job, and what became of its sources",
        handler=about,
        scopes=("jobs:read",),
        answers={200: About},
    ),
)
