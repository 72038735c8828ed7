"""Records of jobs that nobody submitted."""

from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.contract.records import JobRecord, ModelRef

NET = ModelRef(id="net", version="1", digest="0" * 64)


def job_record(job_id, **changed):
    """Return the record of a job with two images, each a chunk of its own; `changed` are fields."""
    fields = {
        "schema_version": 1,
        "created_at": 1.0,
        "models": (NET,),
        "target": "top",
        "method": "gradcam",
        "layer": "auto",
        "fuse": None,
        "outputs": DEFAULT_OUTPUTS,
        "items": 2,
        "duplicates": 0,
        "chunk_size": 1,
        "parts": 2,
        "callback": None,
    }
    return JobRecord(job_id=job_id, **(fields | changed))
