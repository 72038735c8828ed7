"""File names and words that aren't UTF-8: neither JSON nor Parquet can hold them."""

from camfleet.errors import InvalidRequest


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
    """Raise `InvalidRequest` for the path or URI of a file that isn't UTF-8."""
    if not is_utf8(path):
        raise InvalidRequest(f"{readable(path)}: its name isn't UTF-8: rename it")


def check_word(name: str, value: str) -> None:
    """Raise `InvalidRequest` for the value of an option that isn't UTF-8."""
    if not is_utf8(value):
        raise InvalidRequest(f"{name} '{readable(value)}' isn't UTF-8")
