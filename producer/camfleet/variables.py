"""The text of variables: read as values of settings, checked, and written back.

Whatever is wrong is a `ConfigurationError` that names the variable.
"""

import re
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camfleet.errors import ConfigurationError

if TYPE_CHECKING:
    from dataclasses import Field

_KEY_CHARACTERS = 32
_MOST_SECRET = 2**16  # bytes of a file
_S3_ROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}(?:/(?!\.{1,2}(?:/|$))[^/]+)*/?")
_ADDRESS = re.compile(
    r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?(?:/[A-Za-z0-9._~-]+)*"
)
_SECRET_BYTES = range(24, 65)
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def report_root(text: str) -> str:
    """Return a place for reports as it stands; raise `ConfigurationError`."""
    if not _S3_ROOT.fullmatch(text):
        raise ConfigurationError(
            f"CAMFLEET_REPORT_ROOTS has {text!r}, which is neither `bucket` nor `bucket/prefix/` "
            "(without s3://)"
        )
    return text


def s3_root(text: str) -> str:
    """Return a root of `s3://` images as it stands; raise `ConfigurationError`."""
    if text != "*" and not _S3_ROOT.fullmatch(text):
        raise ConfigurationError(
            f"CAMFLEET_S3_ROOTS has {text!r}, which is neither `bucket` nor `bucket/prefix/` "
            "(without s3://, and an access point by its alias), nor `*`"
        )
    return text


def read_file(name: str, path: str) -> str:
    """Return the text of a secret's file, without the line break at its end.

    Raises `ConfigurationError`, which names the variable that names the file.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_SECRET + 1)
        text = data.decode().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it isn't text in UTF-8"
        raise ConfigurationError(f"{name}={path!r} can't be read: {reason}") from None
    if not text or len(data) > _MOST_SECRET:
        raise ConfigurationError(f"{name}={path!r} is empty, or too large for a secret")
    return text


def az_root(text: str) -> str:
    """Return a root of `az://` images as it stands; raise `ConfigurationError`."""
    return _cloud_root("CAMFLEET_AZ_ROOTS", "container", "az", text)


def gs_root(text: str) -> str:
    """Return a root of `gs://` images as it stands; raise `ConfigurationError`."""
    return _cloud_root("CAMFLEET_GS_ROOTS", "bucket", "gs", text)


def _cloud_root(name: str, kind: str, scheme: str, text: str) -> str:
    if text != "*" and not _S3_ROOT.fullmatch(text):
        raise ConfigurationError(
            f"{name} has {text!r}, which is neither `{kind}` nor `{kind}/prefix/` (without "
            f"{scheme}://), nor `*`"
        )
    return text


def check_secret(text: str) -> None:
    """Raise `ConfigurationError` unless `text` is empty or a secret of Standard Webhooks."""
    prefix, _, code = text.partition("_")
    try:
        length = len(b64decode(code, validate=True))
    except ValueError:
        length = 0
    if text and not (prefix == "whsec" and length in _SECRET_BYTES):
        raise ConfigurationError(
            "CAMFLEET_WEBHOOK_SECRET is not of the form whsec_ and 24 to 64 bytes in base64: make "
            'one with echo "whsec_$(openssl rand -base64 32)"'
        )


def check_keys(text: str) -> None:
    """Raise `ConfigurationError` unless all of the keys are long enough."""
    if text and min(map(len, map(str.strip, text.split(",")))) < _KEY_CHARACTERS:
        raise ConfigurationError(
            f"CAMFLEET_SIGNING_KEY has a key of less than {_KEY_CHARACTERS} characters: make one "
            "with openssl rand -base64 32; several are separated by commas"
        )


def check_address(name: str, text: str) -> None:
    """Raise `ConfigurationError` unless `text` is empty or the address of a web server."""
    if text and not _ADDRESS.fullmatch(text):
        raise ConfigurationError(
            f"{name} is not of the form https://host or https://host:port/prefix, without a user, "
            "a query or a slash at its end"
        )


def as_text(value: object) -> str:
    """Return a setting's value as a variable holds it."""
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def parse(name: str, text: str, setting: "Field[Any]") -> Any:
    """Return what a variable says, by its setting's default and metadata."""
    default = setting.default
    if isinstance(default, bool):
        return _boolean(name, text)
    if isinstance(default, int | float):
        return _number(name, text, type(default), setting.metadata["least"])
    if isinstance(default, Path):
        return Path(text)
    if isinstance(default, tuple):
        return tuple(setting.metadata["part"](part) for part in text.split(":") if part)
    return _word(name, text, setting.metadata["choices"])


def _word(name: str, text: str, choices: tuple[str, ...]) -> str:
    if choices and text not in choices:
        raise ConfigurationError(f"{name}={text!r} is none of {', '.join(choices)}")
    return text


def _boolean(name: str, text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ConfigurationError(f"{name}={text!r} is neither 1 nor 0")
    return words[text.lower()]


def _number(name: str, text: str, kind: type[int] | type[float], least: int) -> float:
    unit = UNITS.get(text[-1:].lower(), 1)
    try:
        value = kind(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise ConfigurationError(
            f"{name}={text!r} is not a number; bytes may be written as 512M or 2G"
        ) from None
    if not value >= least:
        raise ConfigurationError(f"{name}={text!r}: at least {least}")
    return value
