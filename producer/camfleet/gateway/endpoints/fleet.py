"""Models, workers, and whether the gateway can do its work."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from starlette.responses import Response

from camfleet.contract.outputs import DEFAULT_PRECISION, PRECISIONS, Precision
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.problems import Problem
from camfleet.gateway.told import Model, Worker, told
from camfleet.jobs.misfits import KnownModel
from camfleet.jobstore import keys


class Models(Struct, kw_only=True):
    models: tuple[Model, ...]


class ModelDetails(Struct, kw_only=True):
    """A model's card and what a worker found of it, without the names of its files.

    `precision` is what it's computed in unless a request says otherwise; `precisions` says of each
    why it's refused, null where it isn't.
    """

    id: str
    version: str
    digest: str
    labels: tuple[str, ...]
    layer: str
    precision: Precision
    precisions: dict[Precision, str | None]
    report: dict[str, Any]


class Workers(Struct, kw_only=True):
    workers: tuple[Worker, ...]


class Health(Struct, kw_only=True):
    ready: bool


async def models(call: Call) -> Response:
    found = await call.client.models.list()
    storage, seen = call.services.blocking.storage, call.services.cards

    def usable(digest: str) -> bool:
        if digest not in seen and storage.exists(keys.card(digest)):
            seen.add(digest)
        return digest in seen

    def listed() -> tuple[Model, ...]:
        return tuple(replace(told(one, Model), usable=usable(one.digest)) for one in found)

    return reply(Models(models=await call.services.threads.long(listed)))


async def model(call: Call) -> Response:
    found = await call.client.models.find(call.path("model"))
    card = await call.client.models.card(found.digest)
    report = await call.client.models.report(found.digest)
    known = KnownModel(f"{found.id}@{found.version}", card, report)
    refusals = {one: known.precision_error(one) for one in PRECISIONS}
    details = ModelDetails(
        id=found.id,
        version=found.version,
        digest=found.digest,
        labels=card.label_list,
        layer=card.layer_text,
        precision=card.precision or DEFAULT_PRECISION,
        precisions={one: error.message if error else None for one, error in refusals.items()},
        report=report,
    )
    return reply(details)


async def workers(call: Call) -> Response:
    found = await call.client.workers()
    return reply(Workers(workers=tuple(told(one, Worker) for one in found)))


async def live(_call: Call) -> Response:
    return reply(Health(ready=True))


async def ready(call: Call) -> Response:
    """Say whether Redis and the bucket answer and a worker lives; why not is in the log."""
    if call.services.stopping.is_set():
        raise Problem(503, "stopping", "this gateway is stopping")
    if not await call.services.threads.quick(call.services.probe.works):
        raise Problem(503, "not_ready", "Redis, the bucket or a worker is missing")
    return reply(Health(ready=True))


ROUTES = (
    Route(
        method="GET",
        path="/v1/models",
        summary="The registered models",
        handler=models,
        answers={200: Models},
    ),
    Route(
        method="GET",
        path="/v1/models/{model}",
        summary="A model by ID, ID@VERSION or ID@ALIAS",
        handler=model,
        answers={200: ModelDetails},
    ),
    Route(
        method="GET",
        path="/v1/workers",
        summary="The live workers, and what they do",
        handler=workers,
        answers={200: Workers},
    ),
    Route(
        method="GET",
        path="/livez",
        summary="Whether the process answers",
        handler=live,
        public=True,
        answers={200: Health},
    ),
    Route(
        method="GET",
        path="/readyz",
        summary="Whether Redis and the bucket answer and a worker lives",
        handler=ready,
        public=True,
        answers={200: Health},
    ),
)
