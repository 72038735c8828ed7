"""Whether this Python has the security fixes of the standard library that workers rely on."""

import sys

# The first patch of each version without the holes of its standard library that were known in
# November 2026, by the records at https://www.cve.org: the last was CVE-2026-115557, in `ssl`.
FIXED_SINCE = {(3, 11): 18, (3, 12): 16, (3, 13): 18, (3, 14): 10, (3, 15): 2}


def missing_fixes(version: tuple[int, int, int] = sys.version_info[:3]) -> tuple[str, ...]:
    """Return that this Python lacks security fixes, in words, or nothing.

    Only the number counts: what a distribution has fixed without changing it isn't seen.
    """
    major, minor, patch = version
    wanted = FIXED_SINCE.get((major, minor), 0)
    if patch >= wanted:
        return ()
    found, fixed = f"{major}.{minor}.{patch}", f"{major}.{minor}.{wanted}"
    way_out = "update it, unless your distribution has fixed them under the old number"
    return (f"Python {found} lacks security fixes that {fixed} has: {way_out}",)
