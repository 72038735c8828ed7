"""What lies in a job's folder, as far as it matters which of it goes, and when the job ended."""

_KEPT = (
    *("job.json", "source.json", "followups.json", "report", "studies", "floor"),
    "findings.json",
    "cancelled.json",
)
_WRITTEN = ("job.json", "manifest", "retries", "results", "history", "cancelled.json")


def is_result(key: str) -> bool:
    """Return whether it goes with the job's results where the report is kept."""
    return key.split("/")[2] not in _KEPT


def says_end(key: str) -> bool:
    """Return whether it was written before the job's end; reports and the like come later."""
    return key.split("/")[2] in _WRITTEN
