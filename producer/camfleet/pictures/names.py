"""Names of files that people read, made of what others wrote: safe on every file system, unique."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from camfleet.foreign import path_of
from camfleet.jobstore.picture_names import of_image, of_model, of_row, readable
from camfleet.sources.left_out import IMAGE_SUFFIXES

__all__ = ["mark", "of_image", "of_original", "of_photograph", "of_picture", "readable"]

_MARK = 10  # hexadecimal digits that make a name unique: a name's readable part may repeat


def mark(*words: object) -> str:
    """Return a few digits that stand for some words: the same words, the same digits."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:_MARK]


def of_original(row: Mapping[str, Any]) -> str:
    """Return the name for a copy of a row's photograph: all rows of an image have the same."""
    uri: str = row["image_uri"]
    path = path_of(uri)
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    end = suffix if suffix in IMAGE_SUFFIXES else ""
    return f"{of_image(row)}-{mark(uri, row['image_etag'], row['item_id'])}{end}"


def of_photograph(row: Mapping[str, Any]) -> str:
    """Return the name for a small copy of a row's photograph, a JPEG."""
    return f"{of_image(row)}-{mark(row['image_uri'], row['image_etag'])}.photo.jpg"


def of_picture(row: Mapping[str, Any], key: object, end: str, *, with_model: bool = False) -> str:
    """Return the name for a picture of a row: image, rank, class, and what `key` stands for."""
    words = [of_image(row), *of_row(row), mark(key)]
    if with_model:
        words.insert(1, of_model(row))
    return "-".join(words) + end
