"""Which licence each distribution names, and whether `accepted.toml` accepts it."""

import re
from collections.abc import Mapping
from importlib.metadata import Distribution

_LONGEST = 60  # characters of a field that names a licence, rather than quoting it
_PARTS = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


def named(dist: Distribution) -> list[str]:
    """Return the licences that a distribution's metadata names, by the first field that does."""
    metadata = dist.metadata
    if expression := metadata["License-Expression"]:
        return [part.strip() for part in _PARTS.split(expression) if part.strip()]
    prefix = "License :: "
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith(prefix)
    ]
    text = (metadata["License"] or "").strip()
    first = text.partition("\n")[0]
    is_name = first and first != "UNKNOWN" and len(first) <= _LONGEST
    if is_name and re.search(r"\s+(?:AND|OR)\s+", first):
        return [part.strip() for part in _PARTS.split(first) if part.strip()]
    if classifiers:
        return classifiers
    return [first] if is_name else []


def problem(
    name: str, licences: list[str], accepted: Mapping[str, str], exceptions: Mapping[str, str]
) -> str | None:
    """Return why a distribution's licences aren't accepted, None if they are.

    `accepted` and `exceptions` are reasons, by licence and by distribution.
    """
    if name in exceptions:
        return None
    if not licences:
        return f"{name} names no licence"
    known = {_plain(licence) for licence in accepted}
    unknown = [licence for licence in licences if _plain(licence) not in known]
    return f"{name} is under {', '.join(unknown)}" if unknown else None


def _plain(licence: str) -> str:
    """Return a licence's name without what people write in different ways."""
    text = re.sub(r"\(.*\)", "", licence.casefold())
    return re.sub(r"[^a-z0-9.]|\b(the|licen[cs]e|version|software)\b", "", text)
