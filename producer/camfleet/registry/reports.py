"""What a worker found out about a model, as it lies in storage: fields of the right types."""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from camfleet.contract.outputs import LONGEST, Precision
from camfleet.errors import InvalidRequest
from camfleet.registry.precision import PrecisionCost

Report: TypeAlias = dict[str, Any]

_Text = Annotated[str, Meta(max_length=LONGEST)]
_Count = Annotated[int, Meta(ge=1, le=2**24)]
_Number = float | None
_Grid = tuple[_Count, _Count]


class _Layer(msgspec.Struct):
    path: _Text
    grid: _Grid
    channels: _Count


class _Input(msgspec.Struct):
    name: _Text
    shape: list[_Count]


class _Meaning(msgspec.Struct):
    reason: str
    guessed: bool


class _Times(msgspec.Struct):
    forward: float
    head_gradient: float


class _Cost(PrecisionCost, frozen=True, kw_only=True):
    refused: str | None


# What programs read of a report. Older versions wrote less, newer ones may write more.
_KNOWN: dict[str, Any] = {
    **dict.fromkeys(("id", "version", "format", "keras_version", "layer", "why"), str),
    **dict.fromkeys(("ending", "activation", "cam", "engine"), str),
    **dict.fromkeys(("head", "methods", "assumed"), list[str]),
    **dict.fromkeys(("split_error", "engine_disagreement"), _Number),
    **dict.fromkeys(("batch_size", "channels", "classes"), _Count),
    **dict.fromkeys(("conv_bytes", "head_bytes", "image_bytes", "working_bytes"), int),
    "candidates": list[_Layer],
    "covers": tuple[float, float, float, float] | None,
    "grid": _Grid,
    "input": list[_Count],
    "milliseconds_per_image": _Times,
    "bf16": _Cost,
    "other_inputs": list[_Input],
    "outputs": _Meaning,
}
_Report = msgspec.defstruct(
    "Report",
    [(name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in _KNOWN.items()],
)


def parse_report(data: bytes) -> Report:
    """Return a report; raise `InvalidRequest` for one that no worker wrote."""
    try:
        msgspec.json.decode(data, type=_Report)
        report: Report = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"it's no report of a worker: {error}") from error
    return report


def cost_in(report: Report, precision: Precision) -> PrecisionCost | None:
    """Return what a precision was found to cost when the model was added, None for nothing.

    Its figures are judged by the limits of whoever asks.
    """
    told = report.get(precision)
    return None if told is None else msgspec.convert(told, PrecisionCost)


def memory_lines(report: Report) -> dict[str, str]:
    """Return what running a model takes; workers of 0.1.0 don't say."""
    if "image_bytes" not in report:
        return {}
    count = report["batch_size"]
    together = "1 image at a time" if count == 1 else f"{count} images together"
    return {
        "memory": f"{report['image_bytes'] / 2**20:.1f} MiB per image, "
        f"{report['working_bytes'] / 2**20:.1f} MiB for {together}"
    }
