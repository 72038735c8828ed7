"""What a job is asked to do: its models, found, and its options, checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from camfleet.contract.codec import decode, encode
from camfleet.contract.outputs import DEFAULT_PRECISION, Precision
from camfleet.contract.records import MOST_MODELS, ModelRef
from camfleet.contract.utf8 import check_word
from camfleet.errors import InvalidRequest
from camfleet.jobs.misfits import KnownModel
from camfleet.jobs.options import JobOptions, job_fields
from camfleet.registry.registry import Registry

ModelName: TypeAlias = str | ModelRef


def make_order(
    registry: Registry,
    models: ModelName | Iterable[ModelName],
    options: JobOptions,
    keep_columns: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the fields of a job's record that the caller chooses.

    A model that is named twice counts once. Whether the models can do it is for `misfits` to say.
    Raises `InvalidRequest`, `UnknownModel`, and `TypeError` for an argument of a wrong type.
    """
    fields = job_fields(options)
    refs = list(dict.fromkeys(map(registry.find, _names(models))))
    if not refs:
        raise InvalidRequest("a job needs at least one model")
    if len(refs) > MOST_MODELS:
        raise InvalidRequest(f"a job has {MOST_MODELS} models at most, not {len(refs)}")
    columns = tuple(dict.fromkeys(keep_columns)) or None
    precision = fields.pop("precision") or _precision(registry, refs)
    own = {"precision": precision} if precision != DEFAULT_PRECISION else {}
    return {**fields, **own, "models": [encode(ref) for ref in refs], "columns": columns}


def models_of(registry: Registry, order: Mapping[str, Any]) -> list[KnownModel]:
    """Return what is known of an order's models."""
    refs = [decode(ref, ModelRef) for ref in order["models"]]
    return [KnownModel.find(registry, ref) for ref in refs]


def model_name(model: ModelName) -> str:
    """Return a model's name in requests: an id or `id@version`."""
    if isinstance(model, str):
        check_word("model", model)
        return model
    if isinstance(model, ModelRef):
        return f"{model.id}@{model.version}"
    raise TypeError(
        f"model is of type {type(model).__name__}: give an id such as 'lite0' or 'lite0@2', or "
        "what models.add returned"
    )


def _precision(registry: Registry, refs: Iterable[ModelRef]) -> Precision:
    """Return the precision that the models' cards ask for, which is one for the whole job."""
    asked = {ref: registry.card(ref.digest).precision or DEFAULT_PRECISION for ref in refs}
    if len(found := set(asked.values())) > 1:
        named = (f"{ref.id}@{ref.version} in {precision}" for ref, precision in asked.items())
        raise InvalidRequest(
            f"a job computes in one precision, and by their cards these models differ: "
            f"{', '.join(named)}; say which (--precision), or submit them apart"
        )
    return found.pop()


def _names(models: ModelName | Iterable[ModelName]) -> list[str]:
    if isinstance(models, str | ModelRef):
        return [model_name(models)]
    if not isinstance(models, Iterable):
        raise TypeError(f"models is of type {type(models).__name__}: give a model's id, or several")
    return [model_name(model) for model in models]
