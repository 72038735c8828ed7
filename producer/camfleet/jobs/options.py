"""What to ask of an image, or of all images of a job: the keywords of `Client`."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypedDict

import msgspec

from camfleet.contract import unused
from camfleet.contract.codec import decode, encode
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.outputs import (
    COLORMAPS,
    COMPONENTS,
    DEFAULT_LAYER,
    DEFAULT_METHOD,
    DEFAULT_OUTPUTS,
    DEFAULT_TARGET,
    FUSES,
    METHODS,
    PICTURES,
    PRECISIONS,
    SHAPES,
    THUMBNAIL,
    Colormap,
    Components,
    Fuse,
    Method,
    Outputs,
    Picture,
    Precision,
    Regions,
    Shape,
)
from camfleet.contract.records import DEFAULT_PRIORITY, JobRecord
from camfleet.contract.targets import parse_layers, parse_target
from camfleet.contract.utf8 import check_word
from camfleet.errors import InvalidRequest
from camfleet.jobs.callback_url import check_callback
from camfleet.storage.place import split_uri


class ExplainOptions(TypedDict, total=False):
    """What to explain and what to write; None is the same as leaving a keyword out.

    `target` and `layer` are as in `camfleet.contract.targets`: a class index may be a number,
    several layers a list. `fuse` says how the maps of several layers become one (left out: as the
    card says). `precision` is "float32" or "bf16" (left out: as the card says). The other keywords
    are the fields of `Outputs` and of its `Regions`, or `outputs`
    holds all of them at once.
    """

    target: str | int | None
    method: Method | None
    layer: str | Iterable[str] | None
    fuse: Fuse | None
    pictures: Picture | Iterable[Picture] | None
    colormap: Colormap | None
    opacity: float | None
    max_side: int | None
    shapes: Shape | Iterable[Shape] | None
    threshold: float | Literal["otsu"] | None
    components: Components | None
    outputs: Outputs | None
    precision: Precision | None


class JobOptions(ExplainOptions, total=False):
    """The keywords of a job; `callback` is an http(s) URL that is told of the job's end.

    `pack` writes a chunk's pictures into one ZIP file instead of an object each. With `report` a
    worker writes the job's report once it's complete: True for the job's own folder, or
    "s3://bucket/prefix". `faithfulness` is the number of images on which it's measured before that
    how well the maps say what the model looks at. `priority` (1 to 100, 10) weighs its share.
    """

    callback: str | None
    pack: bool | None
    report: bool | str | None
    faithfulness: int | None
    priority: int | None


def request_fields(options: ExplainOptions) -> dict[str, Any]:
    """Return what to explain and what to write, checked, as requests and records hold it.

    Raises `InvalidRequest` for a wrong value and `TypeError` for an unknown keyword or a wrong
    type, both naming the keyword.
    """
    return _request_fields(_given(options, ExplainOptions))


def job_fields(options: JobOptions) -> dict[str, Any]:
    """Return the same as `request_fields`, and those fields that only jobs have."""
    given = _given(options, JobOptions)
    callback, pack = given.pop("callback", None), given.pop("pack", False)
    follow_ups = _follow_ups(given.pop("report", False), given.pop("faithfulness", None))
    priority = _as_field_of(JobRecord)("priority", given.pop("priority", DEFAULT_PRIORITY))
    if callback is not None:
        check_callback(callback)
    fields = _request_fields(given)
    if not isinstance(pack, bool):
        raise _wrong_type("pack", pack, "True or False")
    if pack and not decode(fields["outputs"], Outputs).pictures:
        raise InvalidRequest("pack without pictures: ask for some, or leave pack out")
    own = {"priority": priority} if priority != DEFAULT_PRIORITY else {}
    return {**fields, **own, "callback": callback, "pack": pack, "follow_ups": follow_ups}


def _follow_ups(report: Any, faithfulness: Any) -> dict[str, Any] | None:
    """Return what is to follow a job's end, as its record holds it; None for nothing."""
    if not isinstance(report, bool | str):
        raise _wrong_type("report", report, "True, or a place such as 's3://bucket/prefix'")
    if isinstance(faithfulness, bool):
        raise _wrong_type("faithfulness", faithfulness, "a number of images")
    place = report if isinstance(report, str) else None
    if place is not None:
        check_word("report", place)
        split_uri(place)
    if not report and faithfulness is None:
        return None
    sample = _as_field_of(FollowUps)("faithfulness", faithfulness)
    return encode(FollowUps(report=bool(report), place=place, faithfulness=sample))


def _given(options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the options that aren't None; raise `TypeError` for one that doesn't exist."""
    known = kind.__annotations__
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"no keyword {name}: {hint}")
    return {name: value for name, value in options.items() if value is not None}


def _request_fields(given: dict[str, Any]) -> dict[str, Any]:
    checked = {name: _CHECKS[name](name, value) for name, value in given.items()}
    outputs = checked["outputs"] if "outputs" in checked else _outputs(checked)
    unused.refuse(unused.of_pictures(_looks(outputs, checked), outputs.pictures, unused.OF_JOBS))
    unused.refuse(unused.of_layers(checked.get("fuse"), checked.get("layer", DEFAULT_LAYER)))
    return {
        "target": checked.get("target", DEFAULT_TARGET),
        "method": checked.get("method", DEFAULT_METHOD),
        "layer": checked.get("layer", DEFAULT_LAYER),
        "fuse": checked.get("fuse"),
        "outputs": encode(_sole(outputs, checked)),
        "precision": checked.get("precision"),
    }


def _sole(outputs: Outputs, checked: Mapping[str, Any]) -> Outputs:
    """Return the outputs; raise `InvalidRequest` where keywords say the same as well."""
    twice = [name for name in (*_PICTURE_WORDS, *_REGION_WORDS) if name in checked]
    if "outputs" in checked and twice:
        raise InvalidRequest(
            f"outputs says what to write and derive already: leave out {' and '.join(twice)}, or "
            "say everything by keywords and leave out outputs"
        )
    return outputs


def _looks(outputs: Outputs, checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return how pictures are to look, as far as that was said."""
    if "outputs" not in checked:
        return {name: checked[name] for name in unused.OF_JOBS if name in checked}
    own = {name: getattr(outputs, name) for name in unused.OF_JOBS}
    return {name: own[name] for name in own if own[name] != getattr(DEFAULT_OUTPUTS, name)}


def _outputs(checked: Mapping[str, Any]) -> Outputs:
    words = {field: checked[name] for name, field in _PICTURE_WORDS.items() if name in checked}
    if "kinds" in words:
        kinds = words["kinds"]
        words["kinds"] = tuple(kind for kind in kinds if kind != THUMBNAIL)
        words["thumbnail"] = THUMBNAIL in kinds
    return Outputs(**words, regions=_regions(checked))


def _regions(checked: Mapping[str, Any]) -> Regions | None:
    words = {name: checked[name] for name in _REGION_WORDS if name in checked}
    if words.pop("shapes", ()):
        return Regions(shapes=checked["shapes"], **words)
    if words:
        raise InvalidRequest(f"{' and '.join(words)} without shapes: say shapes=['box'] too")
    return None


def _target(name: str, value: Any) -> str:
    value = _plain_number(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _wrong_type(name, value, "a string such as 'top:3' or a label, or a class index")
    if isinstance(value, int) and value < 0:
        raise InvalidRequest(f"{name} {value}: class indices count from 0")
    check_word(name, str(value))
    parse_target(str(value))
    return str(value)


def _layer(name: str, value: Any) -> str:
    paths = _strings(name, value, "a layer's path, or a list of several")
    text = ",".join(paths)
    check_word(name, text)
    parse_layers(text)
    return text


def _one_of(*choices: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise InvalidRequest(f"{name} is one of {', '.join(choices)}, not {value!r}")
        return value

    return check


def _some_of(*choices: str) -> Callable[[str, Any], Any]:
    check = _one_of(*choices)

    def check_all(name: str, value: Any) -> Any:
        values = _strings(name, value, f"a list of {', '.join(choices)}")
        return tuple(dict.fromkeys(check(name, word) for word in values))

    return check_all


def _as_field_of(kind: type[msgspec.Struct]) -> Callable[[str, Any], Any]:
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}

    def check(name: str, value: Any) -> Any:
        try:
            return msgspec.convert(_plain_number(value), types[name])
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{name}: {error}, not {value!r}") from error

    return check


def _whole(name: str, value: Any) -> Outputs:
    if not isinstance(value, Outputs):
        raise _wrong_type(name, value, "an Outputs")
    return decode(encode(value), Outputs)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "target": _target,
    "method": _one_of(*METHODS),
    "layer": _layer,
    "fuse": _one_of(*FUSES),
    "pictures": _some_of(*PICTURES),
    "colormap": _one_of(*COLORMAPS),
    "opacity": _as_field_of(Outputs),
    "max_side": _as_field_of(Outputs),
    "shapes": _some_of(*SHAPES),
    "threshold": _as_field_of(Regions),
    "components": _one_of(*COMPONENTS),
    "outputs": _whole,
    "precision": _one_of(*PRECISIONS),
}
_PICTURE_WORDS = {  # the keyword, and its field of `Outputs`
    "pictures": "kinds",
    "colormap": "colormap",
    "opacity": "opacity",
    "max_side": "max_side",
}
_REGION_WORDS = ("shapes", "threshold", "components")


def _plain_number(value: Any) -> Any:
    """Return a number of another library, such as NumPy, as Python's own; all else as it is."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _strings(name: str, value: Any, wanted: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    values = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(word, str) for word in values):
        raise _wrong_type(name, value, wanted)
    return values


def _wrong_type(name: str, value: Any, wanted: str) -> TypeError:
    return TypeError(f"{name} is {value!r}, of type {type(value).__name__}: give {wanted}")
