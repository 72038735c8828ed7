"""How many examples a run tries: few and the same ones in the suite, many new ones in a long run.

`python -m tests.fuzz` sets `FUZZ_EXAMPLES`, the factor of a long run, which keeps what failed in
`.fuzz/`, prints how to repeat it, and is random.
"""

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Verbosity
from hypothesis.database import DirectoryBasedExampleDatabase

# Inputs are large, and what of them matters is kept in a file.
MARKS = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]
FACTOR = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FOLDER = Path(__file__).parents[2] / ".fuzz"
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def examples(number: int) -> hypothesis.settings:
    """Return the bounds of a target that tries so many examples in the suite."""
    return hypothesis.settings(
        max_examples=number * max(1, FACTOR),
        derandomize=not FACTOR,
        database=DirectoryBasedExampleDatabase(FOLDER / "examples") if FACTOR else None,
        deadline=None,  # the victim's own limits count: see `victim`
        print_blob=True,
        suppress_health_check=_CHECKS,
        verbosity=Verbosity.normal,
    )
