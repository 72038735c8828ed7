"""Dry runs: what a submit would find out, without a job."""

from starlette.responses import Response

from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.jobs import JobRequest, source_of
from camfleet.jobs.dry_run import DryRun

SECONDS = 60.0  # after which is said what nobody has found out


async def dry_run(call: Call) -> Response:
    asked = await call.json(JobRequest)
    found = await call.client.dry_run(
        source_of(call, asked),
        models=asked.models,
        keep_duplicates=asked.keep_duplicates,
        keep_columns=asked.keep_columns,
        check=call.services.policy.check_image,
        timeout=SECONDS,
        **asked.options(),
    )
    return reply(found)


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
