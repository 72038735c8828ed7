"""Jobs that something else needs, and that aren't deleted as long as it does."""

from collections.abc import Mapping

from camfleet.storage.storage import Storage


def protected_jobs(storage: Storage) -> Mapping[str, str]:  # noqa: ARG001  # there's none yet
    """Return the jobs that are needed, and by what, in words: nothing needs a job yet."""
    return {}
