"""The keys of what people do to a job later, in its folder: see `keys`."""

from camfleet.jobstore import keys


def cancelled(job_id: str) -> str:
    return f"{keys.folder(job_id)}cancelled.json"


def findings(job_id: str) -> str:
    return f"{keys.folder(job_id)}findings.json"


def errand(job_id: str, errand_id: str = "") -> str:
    """Return the key of an errand, or the prefix of all of a job's."""
    return f"{keys.folder(job_id)}errands/" + (f"{errand_id}.json" if errand_id else "")


def gallery(job_id: str, errand_id: str = "", name: str = "") -> str:
    """Return the key of a file of a gallery index, the prefix of one index, or of all."""
    return f"{keys.folder(job_id)}gallery/" + (f"{errand_id}/{name}" if errand_id else "")


def comparison(job_id: str, errand_id: str) -> str:
    """Return the prefix of a comparison of a job with another one."""
    return f"{keys.folder(job_id)}comparisons/{errand_id}/"


def export(job_id: str, errand_id: str = "", name: str = "") -> str:
    """Return the key of an archive, the prefix of one, or of all of a job's."""
    return f"{keys.folder(job_id)}exports/" + (f"{errand_id}/{name}" if errand_id else "")
