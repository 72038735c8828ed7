"""What tests of every kind share."""

import time


def wait_until(predicate, timeout, *, pause=0.02):
    """Return what `predicate` says as soon as that is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (said := predicate()):
        assert time.monotonic() < deadline, f"not true within {timeout} s"
        time.sleep(pause)
    return said
