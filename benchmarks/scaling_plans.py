"""The plans of docs/scaling.md and what they rest on; `python -m` this prints its tables.

`CONSTANTS` are what `benchmarks.scaling_runs` and the benchmarks named beside them measured.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.scaling_model import (
    LIMITS,
    WAYS,
    Constants,
    Outcome,
    Plan,
    TooManyWorkers,
    simulate,
)

_JOBS, _LEDGER = "small jobs", "the ledger"
_CPU_SOURCES = (
    "`packed`; none: less what `feed` says",
    "`end_to_end`; others: differences as above",
)
# Of benchmarks/README.md: workers' CPU time in `packed`, and two cores for the images that pass in
# `end_to_end`, where the store ran on them too. Drawing and packing don't depend on the model.
_CPU = {
    "MobileNetV2": {"single": 12.9e-3, "packed": 12.3e-3, "none": 10.5e-3},
    "ResNet50": {"single": 67.8e-3, "packed": 67.2e-3, "none": 65.4e-3},
}
CONSTANTS = Constants(
    cpu=_CPU,
    puts_per_image={"single": 2, "packed": 0, "none": 0},
    puts_per_chunk={"single": 2, "packed": 3, "none": 2},  # manifest, results; pack
    puts_per_job=2,
    gets_per_image=1,
    gets_per_chunk=2,
    gets_per_job=12,
    picture_bytes={"single": 52890, "packed": 53170, "none": 0},
    row_bytes={"single": 263, "packed": 242, "none": 214},
    part_bytes={"single": 20_700, "packed": 24_900, "none": 19_800},
    submit_rate=78_700,  # `submit`
    redis_chunk=2e-3,
    redis_image=5e-6,
    redis_worker=4.4e-3,
    event_bytes=35,
    events=10_000,
    message_bytes=1090,
    lease_bytes=1350,
    job_bytes=500,
    worker_bytes=8e5,
    base_bytes=1.1e6,
    job_expires=2_592_000,
)
_MODELS = ("MobileNetV2", "ResNet50")
# What each size is planned with, by the power of ten.
_SIZES: dict[int, dict[str, Any]] = {
    6: {"cores": 16},
    8: {"cores": 128, "image_partitions": 4},
    10: {"cores": 2048, "image_partitions": 32, "jobs": 96, "fleets": 8, "producers": 4},
}

PLANS = {
    f"1e{power}_{model}_{way}": Plan(images=10**power, model=model, way=way, **size)
    for power, size in _SIZES.items()
    for model in _MODELS
    for way in WAYS
}
_STEPS: dict[str, dict[str, Any]] = {
    "one of each": {"fleets": 1, "image_partitions": 1, "producers": 1},
    "4 fleets": {"fleets": 4},
    "images in 32 partitions": {"image_partitions": 32},
    "pictures packed": {"way": "packed"},
    "4 producers": {"producers": 4},
    "8 fleets": {"fleets": 8},
    "chunks of 1,024": {"chunk": 1024},
}


def _bends() -> dict[str, Plan]:
    """Return a plan after each step, with those before it."""
    plans, plan = {}, PLANS["1e10_MobileNetV2_single"]
    for step, change in _STEPS.items():
        plan = replace(plan, **change)
        plans[step] = plan
    return plans


BENDS = _bends()


def tables() -> dict[str, list[list[str]]]:
    """Return the tables of docs/scaling.md by the heading above them, header first."""
    found = {name: simulate(plan, CONSTANTS) for name, plan in PLANS.items()}
    return {
        "Time": [
            ["images", "model", "cores", "pictures", "takes", "images/s", "limited by",
             "Redis, MB", "Redis, load"],
            *(_time(PLANS[name], outcome) for name, outcome in found.items()),
        ],
        "The store": [
            ["images", "pictures", "PUT", "GET", "requests", "stored", "a month", "to delete"],
            *(_kept(PLANS[name], outcome) for name, outcome in found.items()
              if PLANS[name].model == _MODELS[0]),
        ],
        "Where it bends": [
            ["step", "takes", "limited by", "Redis, MB", "Redis, load", "requests"],
            *(_bend(step, plan) for step, plan in BENDS.items()),
        ],
        "What was measured": [["what", "", "from"], *_constants(CONSTANTS)],
    }  # fmt: skip


def _bend(step: str, plan: Plan) -> list[str]:
    try:
        outcome = simulate(plan, CONSTANTS)
    except TooManyWorkers:
        return [step, "never", "Redis", "", "over 100%", ""]
    return [
        step,
        _duration(outcome.hours),
        outcome.limited_by,
        _short(outcome.redis_mb),
        f"{outcome.redis_load:.0%}",
        f"${_short(outcome.request_dollars)}",
    ]


def _constants(constants: Constants) -> list[list[str]]:
    each = " / ".join
    ways = each(WAYS)
    return [
        *(
            [f"CPU of a worker for an image, {model}, {ways}",
             f"{each(f'{1e3 * cpu[way]:.1f}' for way in WAYS)} ms", source]
            for (model, cpu), source in zip(constants.cpu.items(), _CPU_SOURCES, strict=True)
        ),
        [f"PUTs for an image, {ways}", each(f"{constants.puts_per_image[way]:g}" for way in WAYS),
         _JOBS],
        [f"PUTs for a chunk, {ways}", each(f"{constants.puts_per_chunk[way]:g}" for way in WAYS),
         _JOBS],
        ["PUTs for a job", f"{constants.puts_per_job:g}", _JOBS],
        ["GETs for an image", f"{constants.gets_per_image:g}", _JOBS],
        ["GETs for a chunk and for a job",
         f"{constants.gets_per_chunk:g} and {constants.gets_per_job:g}", _JOBS],
        ["pictures of an image, single and packed",
         f"{constants.picture_bytes['single']:,} and {constants.picture_bytes['packed']:,} bytes",
         "`packed`"],
        [f"a row of results and manifest, with its raw map, {ways}",
         f"{each(f'{constants.row_bytes[way]:g}' for way in WAYS)} bytes", _JOBS],
        [f"a chunk's parts besides, {ways}",
         f"{each(f'{constants.part_bytes[way]:,}' for way in WAYS)} bytes", _JOBS],
        ["images that one producer submits in a second", f"{constants.submit_rate:,}", "`submit`"],
        ["Redis' CPU for a chunk, and for each image more",
         f"{1e3 * constants.redis_chunk:g} and {1e3 * constants.redis_image:g} ms", _JOBS],
        ["Redis' CPU for a worker process that waits",
         f"{1e3 * constants.redis_worker:g} ms a second", _JOBS],
        [f"Redis for an event, of which a job keeps {constants.events:,}",
         f"{constants.event_bytes:g} bytes", _LEDGER],
        ["Redis for a chunk that waits, and for one in work",
         f"{constants.message_bytes:,} and {constants.lease_bytes:,} bytes", _LEDGER],
        ["Redis for a worker process", f"{constants.worker_bytes / 1e6:g} MB", _JOBS],
        ["Redis without jobs and workers", f"{constants.base_bytes / 1e6:g} MB", _LEDGER],
        ["writes and reads a second of a partition of S3",
         f"{LIMITS.puts:,.0f} and {LIMITS.gets:,.0f}", "Amazon's guide"],
    ]  # fmt: skip


def _time(plan: Plan, outcome: Outcome) -> list[str]:
    return [
        _power(plan.images),
        plan.model,
        f"{plan.cores:,}",
        plan.way,
        _duration(outcome.hours),
        _short(outcome.images_per_second),
        outcome.limited_by,
        _short(outcome.redis_mb),
        f"{outcome.redis_load:.0%}",
    ]


def _kept(plan: Plan, outcome: Outcome) -> list[str]:
    return [
        _power(plan.images),
        plan.way,
        _short(outcome.puts),
        _short(outcome.gets),
        f"${_short(outcome.request_dollars)}",
        f"{_short(outcome.terabytes)} TB",
        f"${_short(outcome.month_dollars)}",
        _duration(outcome.delete_hours),
    ]


def _power(number: int) -> str:
    return f"10^{round(math.log10(number))}"


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{_short(hours * 3600)} s"
    if hours < 2:
        return f"{_short(hours * 60)} min"
    return f"{_short(hours)} h" if hours < 48 else f"{_short(hours / 24)} days"


def _short(number: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    digits = max(0, 2 - math.floor(math.log10(number)))
    rounded = round(number, 2 - math.floor(math.log10(number)))
    return f"{rounded:,.{digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])


if __name__ == "__main__":
    for heading, rows in tables().items():
        print(f"## {heading}\n\n{markdown(rows)}\n")
