"""Which Python lacks security fixes of its standard library."""

import pytest

from camfleet_worker.process.python import FIXED_SINCE, missing_fixes


@pytest.mark.parametrize(("minor", "patch"), [(pair[1], FIXED_SINCE[pair]) for pair in FIXED_SINCE])
def test_a_python_before_the_fix_is_said_and_none_later(minor, patch):
    (said,) = missing_fixes((3, minor, patch - 1))
    assert said.startswith(
        f"Python 3.{minor}.{patch - 1} lacks security fixes that 3.{minor}.{patch}"
    )
    assert missing_fixes((3, minor, patch)) == ()
    assert missing_fixes((3, minor, patch + 1)) == ()


def test_a_python_that_is_newer_than_all_known_ones_lacks_nothing():
    assert missing_fixes((3, 16, 0)) == missing_fixes((4, 0, 0)) == ()
