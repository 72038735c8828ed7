"""What a backend's address, the model and a project's label config say together."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from camfleet.contract.choices import with_choices
from camfleet.contract.codec import decode
from camfleet.contract.outputs import (
    DEFAULT_PRECISION,
    Components,
    Fuse,
    Method,
    Outputs,
    Precision,
)
from camfleet.contract.records import ModelRef
from camfleet.errors import ConfigurationError, InvalidRequest
from camfleet.exports.label_config import LabelConfig, parse_config
from camfleet.exports.labels import Labels, classes_of, mapping_of
from camfleet.exports.predictions import Predictions
from camfleet.exports.writer import ExportShape, full_version, version_of
from camfleet.gateway.label_studio.words import MOST_CONFIG
from camfleet.jobs.options import request_fields
from camfleet.registry.registry import Registry

_NAMED = 3  # labels that a message names


class BackendOptions(Struct, forbid_unknown_fields=True, kw_only=True):
    """What stands in a backend's address behind the model: NAME=VALUE, with & between them.

    `labels=known` leaves out classes that the label config has no label for.
    """

    target: str | None = None
    method: Method | None = None
    layer: str | None = None
    fuse: Fuse | None = None
    shape: ExportShape | Literal["none"] | None = None
    threshold: str | None = None
    components: Components | None = None
    precision: Precision | None = None
    heat: bool = False
    labels: Literal["all", "known"] = "all"


@dataclass(frozen=True)
class Plan:
    """How predictions of one model are made for one label config."""

    model: ModelRef
    config_text: str
    predictions: Predictions
    labels: Labels
    mapping: Mapping[str, str | None]
    asked: Mapping[str, Any]  # keywords of the client, without pictures

    @property
    def config(self) -> LabelConfig:
        return self.predictions.config

    @property
    def version(self) -> str:
        return self.predictions.version


def parse_options(text: str) -> BackendOptions:
    """Return the options in an address; raise `InvalidRequest` naming the one that's wrong."""
    given: dict[str, str] = {}
    for word in filter(None, text.split("&")):
        name, sign, value = word.partition("=")
        known = BackendOptions.__struct_fields__
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise InvalidRequest(f"the backend's address has an option {name[:80]!r}; {hint}")
        if not sign or name in given:
            raise InvalidRequest(f"the backend's address: say {name}=VALUE, once")
        given[name] = unquote(value)
    try:
        return msgspec.convert(given, BackendOptions, strict=False)
    except msgspec.ValidationError as error:
        said = with_choices(error, BackendOptions)
        raise InvalidRequest(f"the backend's address: {said}") from error


class Planner:
    """Makes plans. `files` are names for the classes of models, by the model's id."""

    def __init__(self, registry: Registry, files: Mapping[str, Path]) -> None:
        self._registry = registry
        self._files = files

    def plan(self, model: str, options: BackendOptions, config_text: str) -> Plan:
        """Return the plan; raise `UnknownModel`, or `InvalidRequest` that names what to change."""
        if len(config_text) > MOST_CONFIG:
            raise InvalidRequest(f"the label config has more than {MOST_CONFIG} characters")
        config = parse_config(config_text)
        ref = self.find(model)
        classes = classes_of(self._registry, ref)
        mapping = self._mapping(ref, classes)
        config = config.suiting(Labels(classes, mapping).names)
        shape = _shape(config, options)
        _check_heat(config, heat=options.heat)
        if options.labels == "known":
            mapping = {**mapping, **_left_out(config, shape, classes, mapping)}
        labels = Labels(classes, mapping)
        _refuse_lacks(config, shape, labels, ref)
        asked = _keywords(options, shape)
        fields = request_fields({**asked, "pictures": []})  # type: ignore[typeddict-item]
        version = version_of(
            ref,
            fields["method"],
            fields["layer"],
            fields["target"],
            decode(fields["outputs"], Outputs),
            fields["precision"] or self._registry.card(ref.digest).precision or DEFAULT_PRECISION,
        )
        version = full_version(version, shape, heat=options.heat)
        predictions = Predictions(config, shape, options.heat, version)
        return Plan(ref, config_text, predictions, labels, mapping, asked)

    def find(self, model: str) -> ModelRef:
        """Return the model that an address means; raise `UnknownModel`."""
        return self._registry.find(model)

    def _mapping(self, model: ModelRef, classes: Sequence[str]) -> dict[str, str | None]:
        file = self._files.get(model.id)
        return mapping_of(file, classes) if file else {}


def _shape(config: LabelConfig, options: BackendOptions) -> ExportShape | None:
    """Return the shape of regions: the one that is asked for, or the first with a control."""
    if options.shape is None:
        return config.shape()
    shape = None if options.shape == "none" else options.shape
    config.refuse_lacks(shape, heat=False)
    return shape


def _check_heat(config: LabelConfig, *, heat: bool) -> None:
    config.refuse_lacks(None, heat=heat)
    if heat:
        try:
            import camfleet.exports.heat  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                "heat needs NumPy, which isn't installed beside camfleet serve: pip install numpy"
            ) from error


def _keywords(options: BackendOptions, shape: ExportShape | None) -> dict[str, Any]:
    names = ("target", "method", "fuse", "precision")
    found: dict[str, Any] = {name: getattr(options, name) for name in names}
    found["layer"] = options.layer.split(",") if options.layer else None
    if shape:
        found["shapes"] = [shape]
        found["components"] = options.components
        found["threshold"] = _number(options.threshold)
    elif options.threshold is not None or options.components is not None:
        raise InvalidRequest("threshold and components are for regions, and none are shown")
    return {name: value for name, value in found.items() if value is not None}


def _number(text: str | None) -> float | str | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return text


def _left_out(
    config: LabelConfig,
    shape: ExportShape | None,
    classes: Sequence[str],
    mapping: Mapping[str, str | None],
) -> dict[str, None]:
    """Return the classes whose label no control has, for one of the tags that show classes."""
    labels = Labels(classes, mapping)
    lacks = {label for some in config.missing(shape, labels.names).values() for label in some}
    return {name: None for name in classes if labels.of(name) in lacks}


def _refuse_lacks(
    config: LabelConfig, shape: ExportShape | None, labels: Labels, model: ModelRef
) -> None:
    """Raise `InvalidRequest` for labels that the config lacks: Label Studio takes them silently."""
    if not labels.names:
        raise InvalidRequest(
            f"no class of {model.id} has a label in the label config: add some to it, or let "
            f"camfleet serve --labels {model.id}=FILE give classes the labels that it has"
        )
    for tag, missing in config.missing(shape, labels.names).items():
        some = ", ".join(map(repr, missing[:_NAMED])) + (", ..." if missing[_NAMED:] else "")
        raise InvalidRequest(
            f"the label config's {config.named(tag)} lacks {len(missing)} of "
            f"{len(labels.names)} labels of {model.id}: {some}. Add them there, or let "
            f"camfleet serve --labels {model.id}=FILE give classes the labels that it has, or "
            "put labels=known into the backend's address, which leaves such classes out"
        )
