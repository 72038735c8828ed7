"""Jobs: submitted, listed, cancelled, resumed, retried."""

import hashlib
import re
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.aio.job import AsyncJob
from camfleet.broker.listing import Place
from camfleet.broker.progress import Progress
from camfleet.contract.records import DEFAULT_PRIORITY, MOST_MODELS, Item
from camfleet.contract.targets import inputs_text
from camfleet.errors import InvalidRequest
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.options import Inputs, Options, keywords
from camfleet.gateway.problems import Problem
from camfleet.gateway.told import told_progress
from camfleet.jobs.caller import Caller

MOST_IMAGES = 10_000  # named in a request
MOST_LISTED = 1000
_KEY = re.compile(r"[!-~]{1,255}")
_CURSOR = re.compile(r"(\d{1,12}\.\d{1,16}):([A-Za-z0-9._-]{1,100})")


class JobImage(Struct, forbid_unknown_fields=True, kw_only=True):
    """One image of a job, and what is its own; without an id its URI is that."""

    image: str
    id: str | None = None
    target: str | None = None
    inputs: Inputs | None = None
    label: str | None = None
    group: str | None = None

    def item(self) -> Item:
        return Item(
            item_id=self.id or self.image,
            image_uri=self.image,
            target=self.target,
            inputs=inputs_text(self.inputs),
            label=self.label,
            group=self.group,
        )


class JobRequest(Options, kw_only=True):
    """A job of the images in `images`, or of a `source`: a prefix, a manifest, an image."""

    models: str | Annotated[tuple[str, ...], Meta(max_length=MOST_MODELS)]
    source: str | None = None
    images: Annotated[tuple[JobImage, ...], Meta(max_length=MOST_IMAGES)] | None = None
    keep_duplicates: bool = False
    keep_columns: tuple[str, ...] = ()
    force: bool = False
    callback: str | None = None
    pack: bool | None = None
    report: bool | None = None
    faithfulness: int | None = None
    priority: Annotated[int, Meta(ge=1, le=DEFAULT_PRIORITY)] | None = None

    def options(self) -> dict[str, Any]:
        """Return the keywords of `Client.submit` that say what to do with each image."""
        names = ("callback", "pack", "report", "faithfulness", "priority")
        own = {name: getattr(self, name) for name in names}
        return {**keywords(self), **{name: own[name] for name in names if own[name] is not None}}


class Submitted(Struct, kw_only=True):
    """A job that was submitted, now or before, and what it has to wait for."""

    job: Progress
    warnings: tuple[str, ...]


class ResumeQuery(Struct, kw_only=True):
    """Whether a job goes on that was cancelled, which Redis has forgotten."""

    cancelled: bool = False


class RetryRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which failed images run again: those with one of the error codes, or all."""

    codes: tuple[str, ...] = ()


class Retried(Struct, kw_only=True):
    job: Progress
    images: int


class ListQuery(Struct, kw_only=True):
    BEYOND: ClassVar[str] = "; further jobs come with the cursor next"
    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED)] = 100


class JobList(Struct, kw_only=True):
    """Some jobs, the newest first; with the cursor `next` come more."""

    jobs: tuple[Progress, ...]
    next: str | None


async def own_job(call: Call) -> AsyncJob:
    """Return the job of the path; raise `UnknownJob`, also for one of somebody else."""
    job_id, token = call.path("job"), call.whose
    await call.services.threads.quick(lambda: call.services.owners.check(job_id, token))
    return call.client.job(job_id)


async def submit(call: Call) -> Response:
    key = call.request.headers.get("idempotency-key", "")
    if not _KEY.fullmatch(key):
        raise Problem(
            400,
            "idempotency_key",
            "send a header Idempotency-Key of 1 to 255 visible ASCII characters, the same when "
            "you repeat the request: so no job runs twice",
        )
    asked = await call.json(JobRequest)
    digest = await call.services.threads.long(lambda: _digest(asked))
    job = await _submit(call, asked, digest, _job_id(call.owner, key))
    record = await job.record()
    if (record.owner, record.asked) != (call.owner, digest):
        raise Problem(
            409,
            "idempotency_conflict",
            f"this Idempotency-Key stands for job {job.id}, which is "
            "another request: take another key",
        )
    told = Submitted(job=told_progress(await job.status()), warnings=job.warnings)
    location = f"{call.services.root_path}/v1/jobs/{job.id}"
    return reply(told, 200 if job.note else 201, {"Location": location})


async def _submit(call: Call, asked: JobRequest, digest: str, job_id: str) -> AsyncJob:
    """Submit the job that is asked for, as far as its token has room for it."""
    services, source = call.services, source_of(call, asked)
    async with services.admission.job(call.whose, job_id, once=True) as admission:
        models = 1 if isinstance(asked.models, str) else len(asked.models)
        check = admission.counting(services.policy.check_image, models)
        return await call.client.submit(
            source,
            models=asked.models,
            job_id=job_id,
            keep_duplicates=asked.keep_duplicates,
            keep_columns=asked.keep_columns,
            force=asked.force,
            caller=Caller(call.owner, digest, check),
            **asked.options(),
        )


async def list_(call: Call) -> Response:
    asked = call.query(ListQuery)
    owner = None if call.is_admin else call.owner
    after, listing = _place(asked.cursor), call.services.listing
    page = await call.services.threads.long(lambda: listing.page(after, asked.limit, owner))
    cursor = page.next and f"{page.next.created_at!r}:{page.next.job_id}"
    return reply(JobList(jobs=tuple(map(told_progress, page.jobs)), next=cursor))


async def cancel(call: Call) -> Response:
    job = await own_job(call)
    await job.cancel()
    return reply(told_progress(await job.status()), 202)


async def resume(call: Call) -> Response:
    job = await own_job(call)
    async with call.services.admission.job(call.whose, job.id):
        job = await call.client.resume(job.id, cancelled=call.query(ResumeQuery).cancelled)
    return reply(told_progress(await job.status()), 202)


async def retry(call: Call) -> Response:
    job = await own_job(call)
    asked = await call.json(RetryRequest)
    async with call.services.admission.job(call.whose, job.id):
        again, images = await call.client.retry(job.id, asked.codes)
    return reply(Retried(job=told_progress(await again.status()), images=images), 202)


def source_of(call: Call, asked: JobRequest) -> Any:
    """Return what to submit, to be read once, in a thread; raise what forbids it."""
    if (asked.source is None) == (asked.images is None):
        raise InvalidRequest("a job has either a source or images: name one of them")
    if asked.source is None:
        return (image.item() for image in asked.images or ())
    call.services.policy.check_source(asked.source)
    return asked.source


def _digest(asked: JobRequest) -> str:
    """Return what tells requests apart, image by image: other threads get their turn between."""
    head = msgspec.structs.replace(asked, images=None)
    digest = hashlib.sha256(msgspec.json.encode(head, order="deterministic"))
    for image in asked.images or ():
        digest.update(msgspec.json.encode(image, order="deterministic"))
    return digest.hexdigest()


def _job_id(owner: str, key: str) -> str:
    """Return the id that an owner's key stands for, whichever gateway is asked."""
    return f"http-{hashlib.sha256(f'{owner} {key}'.encode()).hexdigest()[:32]}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if not found:
        raise InvalidRequest("cursor: give what `next` says")
    return Place(float(found[1]), found[2])


ROUTES = (
    Route(
        method="POST",
        path="/v1/jobs",
        summary="Submit a job; the same Idempotency-Key is the same job",
        handler=submit,
        scopes=("jobs:write",),
        body=JobRequest,
        headers={"Idempotency-Key": "Required: 1 to 255 characters; see the summary"},
        answers={201: Submitted, 200: Submitted},
    ),
    Route(
        method="GET",
        path="/v1/jobs",
        summary="The owner's jobs, the newest first",
        handler=list_,
        scopes=("jobs:read",),
        query=ListQuery,
        answers={200: JobList},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job}/cancel",
        summary="Stop a job before its next batch",
        handler=cancel,
        scopes=("jobs:write",),
        answers={202: Progress},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job}/resume",
        summary="Run what a job still lacks",
        handler=resume,
        scopes=("jobs:write",),
        query=ResumeQuery,
        answers={202: Progress},
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job}/retry",
        summary="Run the failed images of a complete job again",
        handler=retry,
        scopes=("jobs:write",),
        body=RetryRequest,
        answers={202: Retried},
    ),
)
