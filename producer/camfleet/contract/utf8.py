"""File names and words that aren't UTF-8: neither JSON nor Parquet can hold them."""

import os

from camfleet.errors import InvalidRequest

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # of file systems and of Linux, in bytes


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8; Python stands surrogates for other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    r"""Return a text with bytes that aren't UTF-8 escaped, as in `caf\xe9.jpg`."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode()


def check_name(path: str) -> None:
    """Raise `InvalidRequest` for the path or URI of a file that isn't UTF-8, or too long."""
    if not is_utf8(path):
        raise InvalidRequest(f"{readable(path)}: its name isn't UTF-8: rename it")
    if "://" in path:
        return
    longest = max(map(len, os.fsencode(path).split(b"/")))
    if longest > _LONGEST_NAME or len(path) > _LONGEST_PATH:
        raise InvalidRequest(f"{path[:80]}...: no file has so long a name")


def check_word(name: str, value: str) -> None:
    """Raise `InvalidRequest` for the value of an option that isn't UTF-8."""
    if not is_utf8(value):
        raise InvalidRequest(f"{name} '{readable(value)}' isn't UTF-8")
