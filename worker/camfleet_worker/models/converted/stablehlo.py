"""What a stranger's program of JAX may be: plain operations that end, and call nothing outside.

JAX itself trusts what it reads: a program can name functions of the process that runs it.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from camfleet_worker.models import program
from camfleet_worker.models.converted.ir import Suspicious

_OPERATIONS_AT_MOST = 2**17  # with those of functions counted at each call
_LARGEST = 2**32  # bytes of one operation's result, of one image
# What Keras' layers become at inference, and the gradients of heads. Nothing here repeats, draws
# random numbers, keeps a state or talks to anything, and no result's size depends on values.
_OPERATIONS = """
abs add and atan2 bitcast_convert broadcast_in_dim case cbrt ceil clamp compare concatenate constant
convert convolution cosine divide dot_general dynamic_broadcast_in_dim dynamic_gather dynamic_iota
dynamic_pad dynamic_reshape dynamic_slice dynamic_update_slice exponential exponential_minus_one
floor gather get_dimension_size iota is_finite log log_plus_one logistic maximum minimum multiply
negate not or pad popcnt power real reduce reduce_precision reduce_window remainder reshape return
reverse round_nearest_afz round_nearest_even rsqrt scatter select select_and_scatter shift_left
shift_right_arithmetic shift_right_logical sign sine slice sort sqrt subtract tan tanh transpose xor
"""
OPERATIONS = frozenset(f"stablehlo.{name}" for name in _OPERATIONS.split()) | {
    "builtin.module",
    "func.call",
    "func.func",
    "func.return",
}
# By name, what XLA itself knows: an operation of its own, and checks of sizes that are gone once
# the batch size is known.
_CALLS = {"shape_assertion", "mhlo.erf", "mhlo.topk"}


def check_folder(folder: Path) -> None:
    """Raise `Suspicious` unless the program in a folder can be compiled without danger."""
    found = program.read(folder)
    for data in (found.forward, found.gradients):
        check(data)


def check(data: bytes) -> None:
    """Raise `Suspicious` unless an exported program can be compiled without danger.

    It's for one device, without effects, of known operations, whose functions don't call themselves
    and become no more operations than any model has.
    """
    from jax import export
    from jax.interpreters.mlir import make_ir_context
    from jaxlib.mlir.dialects import stablehlo

    try:
        found = export.deserialize(bytearray(data))
    except Exception as error:  # whatever becomes of bytes that are none of JAX's
        raise Suspicious(f"it's no exported program: {str(error)[:200]}") from error
    if found.nr_devices != 1 or found.ordered_effects or found.unordered_effects:
        raise Suspicious("it's for several devices, or does more than compute")
    with make_ir_context() as context:
        try:
            module = stablehlo.deserialize_portable_artifact(context, found.mlir_module_serialized)
        except Exception as error:
            raise Suspicious(f"it's no program of StableHLO: {str(error)[:200]}") from error
        _check_module(module)


def _check_module(module: Any) -> None:
    counts: dict[str, int] = {}
    calls: dict[str, Counter[str]] = {}
    for function in module.body.operations:
        if function.operation.name != "func.func":
            raise Suspicious(f"it has a {function.operation.name[:80]!r} beside its functions")
        name = _text(function.operation, "sym_name")
        counts[name], calls[name] = _looked_through(function.operation)
    _check_calls(counts, calls)


def _looked_through(function: Any) -> tuple[int, Counter[str]]:
    """Return how many operations a function has, and how often it calls which others."""
    count, called = 0, Counter[str]()
    pending = [function]
    while pending:
        operation = pending.pop()
        count += 1
        _check_operation(operation)
        if operation.name == "func.call":
            called[_text(operation, "callee")] += 1
        for region in operation.regions:
            pending += [inner.operation for block in region for inner in block]
    return count, called


def _check_operation(operation: Any) -> None:
    name = operation.name
    if name == "stablehlo.custom_call":
        target = _text(operation, "call_target_name")
        if target not in _CALLS:
            raise Suspicious(f"it calls {target[:80]!r}")
    elif name not in OPERATIONS:
        raise Suspicious(f"it has an operation {name[:80]!r}")
    if any(_bytes_of(result.type) > _LARGEST for result in operation.results):
        raise Suspicious(f"a {name} of it answers more than {_LARGEST:,} bytes")


def _bytes_of(kind: Any) -> int:
    """Return what a tensor takes, for a batch of one."""
    from jaxlib.mlir import ir

    if not isinstance(kind, ir.RankedTensorType):
        raise Suspicious(f"it has a value of type {str(kind)[:80]!r}")
    sizes = [
        1 if kind.is_dynamic_dim(axis) else int(kind.get_dim_size(axis))
        for axis in range(kind.rank)
    ]
    return 8 * math.prod(sizes)


def _check_calls(counts: dict[str, int], calls: dict[str, Counter[str]]) -> None:
    """Raise `Suspicious` where functions call themselves, or all calls come to too much."""
    whole: dict[str, int] = {}
    pending = dict(calls)
    while pending:
        ready = [name for name, called in pending.items() if set(called) <= set(whole)]
        if not ready:
            raise Suspicious("its functions call themselves, or some that aren't there")
        for name in ready:
            called = pending.pop(name)
            inner = sum(times * whole[other] for other, times in called.items())
            whole[name] = counts[name] + inner
            if whole[name] > _OPERATIONS_AT_MOST:
                raise Suspicious(f"it comes to more than {_OPERATIONS_AT_MOST:,} operations")


def _text(operation: Any, name: str) -> str:
    from jaxlib.mlir import ir

    attribute = operation.attributes[name]
    kind = ir.FlatSymbolRefAttr if name == "callee" else ir.StringAttr
    return str(kind(attribute).value)
