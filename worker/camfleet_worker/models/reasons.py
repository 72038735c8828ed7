"""Why a library failed, in a few of its own words, and as a refusal of the model."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camfleet.errors import CamfleetError, ModelRefused

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CALLING = re.compile(r"^Exception encountered when calling [^\n]*\n+")
_NODE = re.compile(r"\{\{function_node [^}]*\}\}\s*")
_TRACED = "in user code:"
_MOST = 240
NOT_THE_MODELS = ("MemoryError", "ResourceExhaustedError")


def reason_of(error: BaseException) -> str:
    """Return the message of an error on one line, without the arguments that Keras appends."""
    text = _NODE.sub("", _COLOURS.sub("", str(error))).strip()
    if text.startswith(_TRACED):  # with lines of source, whose last paragraph is the error
        text = text.rsplit("\n\n", 1)[-1].strip()
    while found := _CALLING.match(text):
        text = text[found.end() :].strip()
    text = re.split(r"\n\s*(?:Arguments received by|Call arguments received by)", text)[0]
    text = " ".join(text.split())
    return (text[:_MOST] + "..." if len(text) > _MOST else text) or type(error).__name__


@contextmanager
def refusing(what: str, find_culprit: Callable[[], str] = str) -> Iterator[None]:
    """Turn whatever a library raises into a `ModelRefused`: `what`, and why.

    `find_culprit` returns which layer is to blame, or "". Want of memory or disk is no fault of
    the model, and propagates.
    """
    try:
        yield
    except (CamfleetError, OSError):
        raise
    except Exception as error:
        if type(error).__name__ in NOT_THE_MODELS:
            raise
        raise ModelRefused(f"{what}: {find_culprit() or reason_of(error)}") from error
