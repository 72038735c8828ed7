"""Records of jobs that nobody submits."""

import time
from typing import Any

from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.contract.records import JobRecord, ModelRef


def record(job_id: str, chunks: int, *, chunk_size: int = 256, **more: Any) -> JobRecord:
    """Return the record of a job of one model with so many full chunks; `more` are its fields."""
    fields: dict[str, Any] = {
        "schema_version": 1,
        "created_at": time.time(),
        "models": (ModelRef(id="net", version="1", digest="0" * 64),),
        "target": "top",
        "method": "gradcam",
        "layer": "auto",
        "fuse": None,
        "outputs": DEFAULT_OUTPUTS,
        "items": chunk_size * chunks,
        "duplicates": 0,
        "chunk_size": chunk_size,
        "parts": chunks,
        "callback": None,
    }
    return JobRecord(job_id=job_id, **(fields | more))
