"""Dry runs: what a submit would find out, without a job."""

import threading
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from camfleet.gateway.access.turns import in_thread
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.jobs import JobRequest, source_of
from camfleet.jobs.dry_run import DryRun

SECONDS = 60.0  # after which is said what nobody has found out


async def dry_run(call: Call) -> Response:
    asked = await call.json(JobRequest)
    services, source = call.services, source_of(call, asked)
    left = threading.Event()

    def on_progress(_count: int) -> None:
        if left.is_set():
            raise ClientDisconnect

    run = partial(
        services.blocking.dry_run,
        source,
        models=asked.models,
        keep_duplicates=asked.keep_duplicates,
        keep_columns=asked.keep_columns,
        check=services.policy.check_image,
        timeout=SECONDS,
        on_progress=on_progress,
        **asked.options(),
    )
    async with services.admission.request(call.whose):
        try:
            return reply(await in_thread(services.dry_runs, services.waiting, run))
        finally:
            left.set()


ROUTES = (
    Route(
        method="POST",
        path="/v1/dry-runs",
        summary="What submitting a job would find out: counts, models, a sample of the images",
        handler=dry_run,
        scopes=("jobs:write",),
        body=JobRequest,
        answers={200: DryRun},
    ),
)
