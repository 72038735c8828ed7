"""The keys of reviews, below `reviews/<name>/`.

changes/00001.json              what the review is since this change, who made it and why
set/part-00000.parquet          the frozen set: the manifest of its runs
state.json                      which run was started last, and for which time
runs/<run>/verdict.json         what came of a version
runs/<run>/index.html, ...      how it compares with the baseline
runs/<run>/first/index.html     and with the first baseline
"""

import re

from camfleet.contract.reviews import REVIEW, RUN

PREFIX = "reviews/"


def folder(name: str) -> str:
    """Return the prefix of all that is a review's."""
    return f"{PREFIX}{name}/"


def name_of(prefix: str) -> str | None:
    """Return the name of the review whose folder a prefix is, None for any other."""
    name = prefix.removeprefix(PREFIX).removesuffix("/")
    return name if re.match(REVIEW, name) and folder(name) == prefix else None


def changes(name: str) -> str:
    return f"{folder(name)}changes/"


def change(name: str, number: int) -> str:
    return f"{changes(name)}{number:05d}.json"


def change_number(key: str, name: str) -> int | None:
    """Return the number of the change that lies at a key, None for any other key."""
    digits = key.removeprefix(changes(name)).removesuffix(".json")
    number = int(digits) if re.fullmatch("[0-9]{5}", digits) else 0
    return number if number and change(name, number) == key else None


def set_part(name: str, part: int) -> str:
    return f"{folder(name)}set/part-{part:05d}.parquet"


def is_set_part(key: str) -> bool:
    """Return whether a key can be that of a part of a frozen set, of any review."""
    return re.fullmatch(rf"{PREFIX}[^/]+/set/part-\d{{5,9}}\.parquet", key) is not None


def state(name: str) -> str:
    return f"{folder(name)}state.json"


def runs(name: str) -> str:
    return f"{folder(name)}runs/"


def run(name: str, run: str) -> str:
    """Return the prefix of a run's verdict and comparisons."""
    return f"{runs(name)}{run}/"


def first(name: str, of_run: str) -> str:
    """Return the prefix of a run's comparison with the first baseline."""
    return f"{run(name, of_run)}first/"


def verdict(name: str, of_run: str) -> str:
    return f"{run(name, of_run)}verdict.json"


def run_of(prefix: str, name: str) -> str | None:
    """Return the name of the run whose folder a prefix is, None for any other."""
    found = prefix.removeprefix(runs(name)).removesuffix("/")
    return found if re.match(RUN, found) and run(name, found) == prefix else None
