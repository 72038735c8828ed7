"""Names of files that people read, made of what others wrote: safe on every file system, unique."""

from collections.abc import Mapping
from typing import Any

from camfleet.foreign import path_of
from camfleet.jobstore.picture_names import mark, of_image, of_picture, readable
from camfleet.sources.left_out import IMAGE_SUFFIXES

__all__ = ["mark", "of_image", "of_original", "of_photograph", "of_picture", "readable"]


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
