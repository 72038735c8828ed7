"""What a job is asked to do: its models, found, and its options, checked."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from camfleet.contract.codec import encode
from camfleet.contract.records import ModelRef
from camfleet.contract.targets import parse_target
from camfleet.errors import InvalidRequest
from camfleet.jobs.options import JobOptions, job_fields
from camfleet.registry.registry import Registry

ModelName: TypeAlias = str | ModelRef


def make_order(
    registry: Registry, models: ModelName | Iterable[ModelName], options: JobOptions
) -> dict[str, Any]:
    """Return the fields of a job's record that the caller chooses.

    Raises `InvalidRequest`, `UnknownModel`, `UnknownTarget` where a model's card has no such
    class, and `TypeError` for an argument of a wrong type.
    """
    fields = job_fields(options)
    refs = [registry.find(name) for name in _names(models)]
    if not refs:
        raise InvalidRequest("a job needs at least one model")
    _check_target(fields["target"], registry, refs)
    return {**fields, "models": [encode(ref) for ref in refs]}


def model_name(model: ModelName) -> str:
    """Return a model's name in requests: an id or `id@version`."""
    if isinstance(model, str):
        return model
    if isinstance(model, ModelRef):
        return f"{model.id}@{model.version}"
    raise TypeError(
        f"model is of type {type(model).__name__}: give an id such as 'lite0' or 'lite0@2', or "
        "what models.add returned"
    )


def _names(models: ModelName | Iterable[ModelName]) -> list[str]:
    if isinstance(models, str | ModelRef):
        return [model_name(models)]
    if not isinstance(models, Iterable):
        raise TypeError(f"models is of type {type(models).__name__}: give a model's id, or several")
    return [model_name(model) for model in models]


def _check_target(target: str, registry: Registry, refs: Iterable[ModelRef]) -> None:
    parsed = parse_target(target)
    for ref in refs:
        card = registry.card(ref.digest)
        if parsed.kind == "label":
            card.class_index(parsed.label)
        elif parsed.kind == "index" and card.label_list:
            card.check_index(parsed.index)
