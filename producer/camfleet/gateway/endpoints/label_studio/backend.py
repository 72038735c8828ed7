"""The endpoints of the backend. Only `predict` asks workers: Label Studio waits 1 s for health.

The address holds the model and the options, because Label Studio drops a query.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from camfleet.errors import CamfleetError
from camfleet.foreign import visible
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints.label_studio import asking, bodies, selections
from camfleet.gateway.label_studio import words
from camfleet.gateway.label_studio.plans import BackendOptions, Plan, parse_options
from camfleet.gateway.problems import Problem

logger = logging.getLogger(__name__)

START = "/integrations/label-studio/"  # of all paths
AT_ONCE = 200  # tasks that are answered while Label Studio waits; more become a job
WAIT_SECONDS = 75.0  # it waits for 100
_HEALTH_SECONDS = 0.5  # Label Studio waits for 1
_LOGGED = 3  # failed tasks of a selection


async def health(call: Call) -> Response:
    """Say whether the model is there and the options are known, always with the status 200.

    Of an error here Label Studio shows that nothing can be reached there, and keeps no reason; of
    the same error of `setup`, which it asks next, it shows and keeps what it says.
    """
    planner, model = call.services.label_studio.planner, call.path("model")
    try:
        _options(call)
        async with asyncio.timeout(_HEALTH_SECONDS):
            await call.services.threads.quick(lambda: planner.find(model))
    except TimeoutError:  # `setup` has more time
        logger.warning("health of %s: the bucket is slow", visible(model))
    except CamfleetError as error:
        return reply(words.Health(status="DOWN", error=str(error)))
    return reply(words.Health())


async def setup(call: Call) -> Response:
    asked = await call.json(words.Setup)
    plan = await _plan(call, asked.schema)
    return reply(words.Ready(model_version=plan.version))


async def predict(call: Call) -> Response:
    asked = await bodies.read(call, call.services.label_studio.bodies)
    plan = await _plan(call, asked.label_config)
    tasks, threads = asked.tasks, call.services.threads  # of 50,000 tasks it takes a while
    found = await threads.long(lambda: [_find(call, plan, task) for task in tasks])
    if len(found) > AT_ONCE:
        return await _as_job(call, plan, asked, found)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            results = await _ask(call, plan, found)
    except TimeoutError:
        if call.services.label_studio.url:
            return await _as_job(call, plan, asked, found)
        raise Problem(
            503, "answer_timeout", f"no worker answered for all tasks within {WAIT_SECONDS:g} s"
        ) from None
    return reply(words.Predicted(results=_told(asked, found, results)))


async def webhook(_call: Call) -> Response:
    """Say that it's heard: Label Studio tells of everything, and sends no password with it."""
    return reply(words.Heard())


async def _plan(call: Call, config: str) -> Plan:
    options = _options(call)
    planner, model = call.services.label_studio.planner, call.path("model")
    return await call.services.threads.quick(lambda: planner.plan(model, options, config))


def _options(call: Call) -> BackendOptions:
    return parse_options(call.request.path_params.get("options", ""))


def _find(call: Call, plan: Plan, task: words.Task) -> str | CamfleetError:
    """Return the URI of a task's image, or why there's none that may be read."""
    try:
        uri = call.services.label_studio.images.find(plan.config.value.place(task.data))
        call.services.policy.check_image(uri)
    except CamfleetError as error:
        return error
    return uri


async def _ask(
    call: Call, plan: Plan, found: Sequence[str | CamfleetError]
) -> list[dict[str, Any] | CamfleetError | None]:
    """Return what each image gives, in order."""
    backend, turns = call.services.label_studio, asyncio.Semaphore(asking.IN_WORK)
    until = asyncio.get_running_loop().time() + WAIT_SECONDS

    async def one(uri: str | CamfleetError) -> dict[str, Any] | CamfleetError | None:
        if isinstance(uri, CamfleetError):
            return uri
        try:
            return await asking.predict(call, plan, uri, backend.recent, turns, until)
        except CamfleetError as error:
            return error

    return list(await asyncio.gather(*map(one, found)))


async def _as_job(
    call: Call, plan: Plan, asked: words.Selection, found: Sequence[str | CamfleetError]
) -> Response:
    """Let a job do it, and say for each task that there's no prediction yet."""
    pairs = list(zip(asked.tasks, found, strict=True))
    tasks = [(task.id, uri) for task, uri in pairs if task.id is not None and isinstance(uri, str)]
    _told(asked, found, [uri if isinstance(uri, CamfleetError) else None for uri in found])
    url = call.services.label_studio.url
    job_id = await selections.write_back(call, plan, asked.project_id, tasks, url)
    logger.info("project %s: %d tasks became job %s", asked.project_id, len(tasks), job_id)
    return reply(words.Predicted(results=[[] for _ in asked.tasks]))


def _told(
    asked: words.Selection,
    found: Sequence[str | CamfleetError],
    results: Sequence[dict[str, Any] | CamfleetError | None],
) -> list[Any]:
    """Return the results as Label Studio takes them; log why some failed, raise if all did."""
    failed = [
        (task, error)
        for task, error in zip(asked.tasks, results, strict=True)
        if isinstance(error, CamfleetError)
    ]
    for task, error in failed[:_LOGGED]:
        logger.warning(
            "project %s, task %s: %s (%s)",
            asked.project_id,
            task.id,
            visible(str(error)),
            error.code,
        )
    if len(failed) > _LOGGED:
        codes = Counter(error.code for _, error in failed)
        logger.warning(
            "project %s: %d of %d tasks failed: %s",
            asked.project_id,
            len(failed),
            len(found),
            ", ".join(f"{number} {code}" for code, number in codes.most_common()),
        )
    if failed and len(failed) == len(results):
        raise failed[0][1]
    return [[] if one is None or isinstance(one, CamfleetError) else one for one in results]


def _routes() -> list[Route]:
    found = []
    for below in ("", "/{options}"):
        start = f"{START}{{model}}{below}"
        which = ", with options" if below else ""
        found += [
            Route(
                method="GET",
                path=f"{start}/health",
                summary=f"Label Studio's backend{which}: whether it can be used",
                handler=health,
                scopes=("explain",),
                basic=True,
                answers={200: words.Health},
            ),
            Route(
                method="POST",
                path=f"{start}/setup",
                summary=f"Label Studio's backend{which}: checks a label config",
                handler=setup,
                scopes=("explain",),
                basic=True,
                body=words.Setup,
                answers={200: words.Ready},
            ),
            Route(
                method="POST",
                path=f"{start}/predict",
                summary=f"Label Studio's backend{which}: predictions of tasks",
                handler=predict,
                scopes=("explain",),
                basic=True,
                body=words.Selection,
                answers={200: words.Predicted},
            ),
            Route(
                method="POST",
                path=f"{start}/webhook",
                summary=f"Label Studio's backend{which}: takes notice of nothing",
                handler=webhook,
                public=True,
                answers={200: words.Heard},
            ),
        ]
    return found


ROUTES = tuple(_routes())
