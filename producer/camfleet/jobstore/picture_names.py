"""Readable names of pictures, made of what others wrote: safe on every file system, in any ZIP."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from camfleet.foreign import path_of, without_secrets

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_GAPS = re.compile(r"_{2,}")
_MARK = 10  # hexadecimal digits that make a name unique: a name's readable part may repeat
_BYTES = {"item": 90, "model": 40, "class": 60}  # of each part of a name


def readable(text: str, most: int) -> str:
    """Return letters, digits and `-` of a text in Unicode's NFC, with `_` for all else.

    So it has no separator, dot, control or sign that steers, no secret of a URL, and at most so
    many bytes of UTF-8.
    """
    plain = unicodedata.normalize("NFC", without_secrets(text))
    kept = "".join(sign if _is_kept(sign) else "_" for sign in plain)
    cut = _GAPS.sub("_", kept).encode()[:most].decode(errors="ignore")
    return cut.strip("_-") or "_"


def of_image(row: Mapping[str, Any]) -> str:
    """Return the readable name of a row's image: its item's id, or that of its file."""
    text: str = row["item_id"]
    if text.isdigit() or text == row["image_uri"]:
        text = row["image_uri"]
    text = path_of(text)
    name = text.rstrip("/").rpartition("/")[2]
    return readable(_SUFFIX.sub("", name) or name, _BYTES["item"])


def of_model(row: Mapping[str, Any]) -> str:
    """Return the readable name of a row's model."""
    return readable(row["model_id"], _BYTES["model"])


def of_row(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return rank and class of a row, for people: "1" and "rose", or "not-rose"."""
    against = "not-" if row["target"].startswith("not:") else ""
    label = readable(row["class_name"] or f"class {row['class_index']}", _BYTES["class"])
    return str(row["rank"] + 1), against + label


def mark(*words: object) -> str:
    """Return a few digits that stand for some words: the same words, the same digits."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:_MARK]


def of_picture(row: Mapping[str, Any], key: object, end: str, *, with_model: bool = False) -> str:
    """Return the name for a picture of a row: image, rank, class, and what `key` stands for."""
    words = [of_image(row), *of_row(row), mark(key)]
    if with_model:
        words.insert(1, of_model(row))
    return "-".join(words) + end


def _is_kept(sign: str) -> bool:
    return sign == "-" or unicodedata.category(sign)[0] in "LNM"
