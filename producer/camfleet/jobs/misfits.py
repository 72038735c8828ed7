"""What a job asks of a model that it can't do, by its card and by the report of its registration.

The report is what a worker found when the model was added: no worker is asked. Where it says
nothing, nothing is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from camfleet.contract import unused
from camfleet.contract.outputs import DEFAULT_LAYER, DEFAULT_PRECISION, Precision
from camfleet.contract.records import ModelRef
from camfleet.contract.targets import Target, parse_layers, parse_target
from camfleet.errors import (
    CallerError,
    InvalidRequest,
    LayerRefused,
    MethodRefused,
    ObjectMissing,
    PrecisionRefused,
)
from camfleet.registry.cards import Card
from camfleet.registry.precision import refusal
from camfleet.registry.registry import Registry, Report
from camfleet.registry.reports import cost_in

_SHOWN = 5  # layers
_REMEMBERED = 4096  # targets: manifests of millions have few


class KnownModel(NamedTuple):
    """A registered model as its card and its report describe it."""

    name: str
    card: Card
    report: Report

    @classmethod
    def find(cls, registry: Registry, ref: ModelRef) -> "KnownModel":
        try:
            report = registry.report(ref.digest)
        except ObjectMissing:  # the registration isn't over
            report = {}
        return cls(f"{ref.id}@{ref.version}", registry.card(ref.digest), report)

    def target_error(self, target: str) -> CallerError | None:
        """Return why the model has no class that a target means, or None."""
        try:
            self._check_target(parse_target(target))
        except CallerError as error:
            return error
        return None

    def layer_error(self, layer: str) -> CallerError | None:
        """Return why the model can't be explained at a layer or several, or None."""
        usable = [candidate["path"] for candidate in self.report.get("candidates", ())]
        for path in parse_layers(layer):
            if path != DEFAULT_LAYER and usable and path not in usable:
                return LayerRefused(
                    f"model {self.name} has no layer {path!r} that can be explained; the last ones "
                    f"are {', '.join(usable[-_SHOWN:])} (camfleet models show lists all)"
                )
        return None

    def method_error(self, method: str, layer: str) -> CallerError | None:
        """Return why a method doesn't hold for the model at its own layer, or None."""
        known = self.report.get("methods")
        if not known or method in known or layer != DEFAULT_LAYER:
            return None
        return MethodRefused(
            f"method {method} does not hold for model {self.name}: {self.report.get('cam')}"
        )

    def precision_error(self, precision: Precision) -> CallerError | None:
        """Return why the model isn't computed in a precision, as was measured, or None."""
        if precision == DEFAULT_PRECISION or not self.report:
            return None
        cost = cost_in(self.report, precision)
        if cost is None:
            reason: str | None = (
                "what that costs it wasn't measured: add it again (camfleet models add) while a "
                f"worker that computes in {precision} is alive"
            )
        else:
            reason = cost.why_refused()
        return PrecisionRefused(refusal(self.name, precision, reason)) if reason else None

    def fuses(self, layer: str) -> bool:
        """Return whether maps of several layers become one."""
        return len(parse_layers(self.card.layer_text if layer == DEFAULT_LAYER else layer)) > 1

    def _check_target(self, target: Target) -> None:
        if target.kind == "label":
            self.card.class_index(target.label)
        elif target.kind == "index":
            classes = self.report.get("classes") or len(self.card.label_list)
            if classes:
                self.card.check_index(target.index, classes)
        elif target.kind == "above" and self.report.get("activation") == "none":
            raise InvalidRequest(
                f"target above:P needs probabilities; model {self.name} has none (regression)"
            )


def find_misfits(models: Sequence[KnownModel], order: Mapping[str, Any]) -> Iterator[CallerError]:
    """Yield what a job's order asks of its models that they can't do."""
    for model in models:
        found = (
            model.target_error(order["target"]),
            model.layer_error(order["layer"]),
            model.method_error(order["method"], order["layer"]),
            model.precision_error(order.get("precision", DEFAULT_PRECISION)),
        )
        yield from (error for error in found if error)
    if order.get("fuse") and not any(model.fuses(order["layer"]) for model in models):
        yield unused.of_cards(", ".join(model.name for model in models))


class Targets:
    """Counts the items whose own target no model of the job has."""

    def __init__(self, models: Iterable[KnownModel]) -> None:
        self.wrong = 0
        self.first: CallerError | None = None
        self._models = tuple(models)
        self._known: dict[str, CallerError | None] = {}

    def check(self, target: str) -> None:
        if target not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[target] = self._error(target)
        error = self._known[target]
        if error:
            self.wrong += 1
            self.first = self.first or error

    def _error(self, target: str) -> CallerError | None:
        errors = [model.target_error(target) for model in self._models]
        return errors[0] if errors and all(errors) else None
