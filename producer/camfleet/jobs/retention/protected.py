"""Jobs that something besides its owner needs, and what that is, in words."""

from camfleet.reviews.protected import JOBS, protected_jobs
from camfleet.storage.storage import Storage

__all__ = ["protected_jobs", "still_protected"]


def still_protected(storage: Storage, job_id: str) -> dict[str, str]:
    """Return what is protected by now, if a job is one that a review may have come to need.

    Whoever deletes it has claimed it: a review that accepts its version claims it, too.
    """
    return protected_jobs(storage) if job_id.startswith(JOBS) else {}
