"""Plans of 10^6, 10^8 and 10^10 images by simulation, and the same simulation beside real runs.

First small real runs, in Valkey and SeaweedFS, against what `scaling_model` says of them with the
constants that stand in docs/scaling.md: a ratio is simulated to real. Then the plans themselves.
`IMAGES=256 CHUNKS=20000` for fewer, `PACE=2` for a slower store where the cores are busy otherwise;
`REAL=0` for the plans alone.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import nets, photographs
from benchmarks import scaling_runs as runs
from benchmarks.counting import CountingFront
from benchmarks.fleet import NO_PICTURES, Fleet
from benchmarks.scaling_model import Constants, Limits, Plan, TooManyWorkers, simulate
from benchmarks.scaling_plans import BENDS, CONSTANTS, PLANS
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.settings import Settings

IMAGES = int(os.environ.get("IMAGES", "768"))
CHUNKS = int(os.environ.get("CHUNKS", "60000"))
MODEL = "MobileNetV2"
PACE = float(os.environ.get("PACE", "20"))  # requests a second of a slow store
OPTIONS: dict[str, dict[str, Any]] = {
    "single": {"outputs": DEFAULT_OUTPUTS},
    "packed": {"outputs": DEFAULT_OUTPUTS, "pack": True},
    "none": {"outputs": NO_PICTURES},
}
_CHUNK = 96  # another than the constants were measured with, as the number of images is


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield the real runs beside their simulations, then the plans."""
    if os.environ.get("REAL", "1") != "0":
        yield from _real()
    for name, plan in {**PLANS, **BENDS}.items():
        yield {
            "name": f"scaling_{name.replace(' ', '_').replace(',', '')}",
            **asdict(plan),
            **_simulated(plan),
        }


def _simulated(plan: Plan) -> dict[str, Any]:
    try:
        found = asdict(simulate(plan, CONSTANTS))
    except TooManyWorkers as error:
        return {"refused": str(error)}
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in found.items()
    }


def _real() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Fleet(folder) as fleet:
            yield _ledger(Settings.from_environ(os.environ))
            uris = photographs.upload(fleet.client.storage, IMAGES + IMAGES // 2)
            card = nets.write(MODEL, folder / MODEL)
            with runs.counted_fleet(fleet) as front:
                fleet.client.models.add(card)
                yield from _jobs(front, uris)
                yield from _slow_store(front, uris[: IMAGES // 2])


def _ledger(settings: Settings) -> dict[str, Any]:
    """Return the bytes that a job of many chunks leaves in Redis, real and simulated."""
    runs.ledger(settings, 100)  # what a server takes once: scripts, connections
    real = runs.ledger(settings, CHUNKS)["bytes"] / 1e6
    plan = Plan(256 * CHUNKS, 1, MODEL, "single", cores_per_process=1)
    # No worker took part, and Redis wasn't empty before.
    constants = replace(CONSTANTS, base_bytes=0, worker_bytes=0)
    simulated = simulate(plan, constants).redis_mb
    return {"name": "scaling_redis", "chunks": CHUNKS, **_beside("redis_mb", real, simulated)}


def _jobs(front: CountingFront, uris: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what real jobs ask of the store and leave there, beside their simulations."""
    cores = len(os.sched_getaffinity(0))
    runs.run(front, uris[:16], 16, models=[MODEL], **OPTIONS["none"])  # the model, connections
    for way, options in OPTIONS.items():
        runs.run(front, uris[-32:], 16, models=[MODEL], **options)  # connections
        # Cores, neighbours and store are this machine's: seconds follow from a job half the size.
        half = runs.run(front, uris[IMAGES:], _CHUNK, models=[MODEL], **options)
        real = runs.run(front, uris[:IMAGES], _CHUNK, models=[MODEL], **options)
        spent = half.seconds * cores / half.images
        plan = Plan(IMAGES, cores, MODEL, way, chunk=_CHUNK)
        found = simulate(plan, _with_cpu(CONSTANTS, way, spent))
        yield {
            "name": f"scaling_job_{way}",
            "images": IMAGES,
            "chunk": _CHUNK,
            **_beside("puts", real.puts, found.puts),
            **_beside("gets", real.gets, found.gets),
            **_beside("megabytes", sum(real.stored.values()) / 1e6, found.terabytes * 1e6),
            **_beside("seconds", real.seconds, found.hours * 3600),
        }


def _slow_store(front: CountingFront, uris: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the seconds of a job in a store that is slower than the cores, real and simulated."""
    cores = len(os.sched_getaffinity(0))
    slow = {"PUT": ("single", Limits(puts=PACE)), "GET": ("none", Limits(gets=PACE))}
    for method, (way, limits) in slow.items():
        front.pace = {method: PACE}
        real = runs.run(front, uris, _CHUNK, models=[MODEL], **OPTIONS[way])
        front.pace = {}
        plan = Plan(len(uris), cores, MODEL, way, chunk=_CHUNK)
        found = simulate(plan, CONSTANTS, limits)
        yield {
            "name": f"scaling_slow_{method}",
            "images": len(uris),
            "requests_per_second": PACE,
            **_beside("seconds", real.seconds, found.hours * 3600),
        }


def _with_cpu(constants: Constants, way: str, seconds: float) -> Constants:
    """Return the constants with another CPU time for an image."""
    return replace(constants, cpu={MODEL: {way: seconds}})


def _beside(name: str, real: float, simulated: float) -> dict[str, float]:
    return {
        name: round(real, 3),
        f"{name}_simulated": round(simulated, 3),
        f"{name}_ratio": round(simulated / real, 3),
    }
