"""Whether a filter's classes are classes of a job's models: a misspelt one would match no row."""

import difflib
from collections.abc import Iterable
from typing import Any

from camfleet.contract.records import JobRecord
from camfleet.contract.targets import Target, parse_target
from camfleet.errors import CamfleetError, InvalidRequest
from camfleet.registry.registry import Registry
from camfleet.results.query import Selection, class_values
from camfleet.storage.storage import Storage


def refuse_unknown(record: JobRecord, storage: Storage, selection: Selection, wanted: Any) -> None:
    """Raise `InvalidRequest` for a class that none of the selected models has.

    Where a model's card or report can't be read nobody knows, and nothing is refused.
    """
    if wanted is None:
        return
    registry, names, count = Registry(storage), list[str](), 0
    try:
        for digest in {record.models[number].digest for number in selection.models}:
            labels = registry.card(digest).label_list
            classes = len(labels) or int(registry.report(digest)["classes"])
            names += labels or map(str, range(classes))
            count = max(count, classes)
    except (CamfleetError, KeyError, TypeError, ValueError):
        return
    for value in class_values(wanted):
        if not _is_known(parse_target(str(value)), names, count):
            raise InvalidRequest(_unknown(value, names, count))


def _is_known(target: Target, names: Iterable[str], count: int) -> bool:
    return target.index < count if target.kind == "index" else target.label in set(names)


def _unknown(value: str | int, names: list[str], count: int) -> str:
    near = difflib.get_close_matches(str(value).removeprefix("label:"), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {count}, such as {names[:3]}"
    return f"no model of the job has a class {str(value)!r}; {hint}"
