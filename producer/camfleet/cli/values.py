"""Kinds of values on the command line: what they refuse is wrong usage, with exit code 2."""

import math
from collections.abc import Callable

import click

from camfleet.contract.targets import parse_class, parse_layers, parse_target
from camfleet.errors import InvalidRequest, check_codes
from camfleet.variables import UNITS


class Checked(click.ParamType[str]):
    """A text that `check` accepts: it raises `InvalidRequest` for others."""

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        self.name = name
        self._check = check

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        try:
            self._check(str(value))
        except InvalidRequest as error:
            self.fail(error.message, param, ctx)
        return str(value)


class Needed(click.Choice[str]):
    """A choice that must be made; click names what there is with tabs, which would be escaped."""

    def get_missing_message(
        self,
        param: click.Parameter,  # noqa: ARG002  # click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        return f"Choose from: {', '.join(self.choices)}"


class Real(click.FloatRange):
    """A number in a range, which NaN and infinity aren't."""

    def convert(
        self, value: float | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found: float = super().convert(value, param, ctx)  # type: ignore[arg-type]  # a text
        if not math.isfinite(found):
            self.fail(f"{value} is no number that can be used", param, ctx)
        return found


class Bytes(click.IntRange):
    """A number of bytes, at least 1, which may be written as 512M or 2G."""

    name = "bytes"

    def __init__(self) -> None:
        super().__init__(1)

    def convert(
        self, value: int | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        unit = UNITS.get(text[-1:].lower(), 1)
        digits = text[:-1] if unit > 1 else text
        if not digits.isdecimal():
            self.fail(f"{text!r} is no number of bytes, such as 512M or 2G", param, ctx)
        number: int = super().convert(digits, param, ctx)  # type: ignore[arg-type]  # a text
        return number * unit


def _check_job(text: str) -> None:
    from camfleet.jobstore.records import check_id

    check_id(text)


def _check_job_and_model(text: str) -> None:
    _check_job(text.partition(":")[0])


def _check_folder(text: str) -> None:
    if not text.strip():
        raise InvalidRequest("it's empty: name a folder (. for this one)")


def _check_prefix(text: str) -> None:
    from camfleet.storage.place import split_uri

    split_uri(text.rstrip("/"))


def _check_place(text: str) -> None:
    (_check_prefix if text.startswith("s3:") else _check_folder)(text)


SECONDS = Real(0, min_open=True)
SHARE = Real(0, 1)
CODE = Checked("code", lambda text: check_codes([text]))
CLASS = Checked("class", parse_class)
TARGET = Checked("target", parse_target)
LAYERS = Checked("layer", parse_layers)
JOB = Checked("job", _check_job)
JOB_AND_MODEL = Checked("job", _check_job_and_model)
FOLDER = Checked("folder", _check_folder)
PREFIX = Checked("prefix", _check_prefix)  # s3://bucket/prefix
PLACE = Checked("place", _check_place)  # a folder or a prefix
