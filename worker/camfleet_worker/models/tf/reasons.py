"""Why a library failed, in a few of its own words."""

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CALLING = re.compile(r"^Exception encountered when calling [^\n]*\n+")
_MOST = 240


def reason_of(error: BaseException) -> str:
    """Return the message of an error on one line, without the arguments that Keras appends."""
    text = _COLOURS.sub("", str(error)).strip()
    while found := _CALLING.match(text):
        text = text[found.end() :].strip()
    text = re.split(r"\n\s*(?:Arguments received by|Call arguments received by)", text)[0]
    text = " ".join(text.split())
    return (text[:_MOST] + "..." if len(text) > _MOST else text) or type(error).__name__
