"""Selections that are too large to wait for: they become jobs, and workers write back."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from camfleet.broker.progress import Progress
from camfleet.contract.codec import encode
from camfleet.contract.follow_ups import FollowUps, WriteBack
from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.gateway.calls import Call
from camfleet.gateway.label_studio.plans import Plan
from camfleet.gateway.problems import Problem
from camfleet.jobs.caller import Caller
from camfleet.label_studio.places import TOKEN, URL

_MOST_TIMES = 1000  # that one selection is asked for


async def write_back(
    call: Call, plan: Plan, project: int | None, tasks: Sequence[tuple[int, str]], url: str
) -> str:
    """Let a job explain tasks, by their ids and URIs, and write their predictions; return its id.

    A selection that is in work already is left alone, whoever asks for it again.
    """
    if not url:
        raise InvalidRequest(
            f"{len(tasks)} tasks are more than are answered at once: set {URL} for camfleet serve "
            f"and the workers, and {TOKEN} for the workers, so that these write predictions back; "
            "or select fewer"
        )
    if not call.whose.opens("jobs:write"):
        raise Problem(
            403,
            "forbidden",
            f"{len(tasks)} tasks are more than are answered at once, and this token lacks the "
            "scope jobs:write",
        )
    if project is None:
        raise InvalidRequest("the project has no number, so nobody knows where to write back")
    wanted = WriteBack(
        url=url,
        project=project,
        config=plan.config_text,
        shape=plan.predictions.shape,
        heat=plan.predictions.heat,
        version=plan.version,
        labels=dict(plan.mapping),
    )
    threads = call.services.threads  # of 250,000 tasks it takes a while
    digest = await threads.long(lambda: _digest(call.owner, wanted, tasks, plan))
    for number in range(1, _MOST_TIMES):
        job_id = f"label-studio-{digest[:24]}-{number}"
        progress = await _progress(call, job_id)
        if progress is None:
            await _submit(call, plan, wanted, tasks, job_id, digest)
            return job_id
        if not progress.followed:
            return job_id
    raise InvalidRequest(f"this selection was asked for {_MOST_TIMES} times: delete its jobs")


async def _progress(call: Call, job_id: str) -> Progress | None:
    """Return how far a job is, None where there's none; what Redis has forgotten goes on."""
    job = call.client.job(job_id)
    try:
        return await job.status()
    except UnknownJob:
        pass
    try:
        await job.record()
    except UnknownJob:
        return None
    return await (await call.client.resume(job_id)).status()


async def _submit(
    call: Call,
    plan: Plan,
    wanted: WriteBack,
    tasks: Sequence[tuple[int, str]],
    job_id: str,
    digest: str,
) -> None:
    services = call.services
    items = await services.threads.long(lambda: _items(tasks))
    async with services.admission.job(call.whose, job_id, once=True) as admission:
        check = admission.counting(services.policy.check_image, 1)
        follow_ups = FollowUps(label_studio=wanted)
        await call.client.submit(
            items,
            models=plan.model,
            job_id=job_id,
            keep_duplicates=True,  # two tasks may be of one image
            caller=Caller(call.owner, digest, check, follow_ups),
            pictures=[],
            **plan.asked,
        )


def _items(tasks: Sequence[tuple[int, str]]) -> list[Item]:
    return [Item(item_id=str(number), image_uri=uri) for number, uri in tasks]


def _digest(owner: str, wanted: WriteBack, tasks: Sequence[tuple[int, str]], plan: Plan) -> str:
    words: list[Any] = [owner, plan.model.digest, encode(wanted), dict(plan.asked), sorted(tasks)]
    return hashlib.sha256(msgspec.json.encode(words, order="deterministic")).hexdigest()
