"""Why Keras can't read a model file that names nothing wrong."""

import re

from camfleet_worker.models.reasons import reason_of

_UNSAFE = re.compile(r"[^.]*(safe_mode|unsafe_deserialization)[^.]*\.?")


def cause(error: BaseException) -> str:
    """Return why a file can't be read, and the way out."""
    last = str(error).rpartition("Exception encountered:")[2]
    reason = _UNSAFE.sub("", reason_of(Exception(last))).strip() or type(error).__name__
    return (
        f"{reason} (rebuild it from Keras' own layers, or see `camfleet models convert` for old "
        "files)"
    )
