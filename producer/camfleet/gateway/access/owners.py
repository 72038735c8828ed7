"""Whose a job is, in one place: nobody else can tell it from a job that doesn't exist."""

from camfleet.contract.tokens import TokenRecord
from camfleet.errors import UnknownJob
from camfleet.jobstore.records import read_any_record
from camfleet.storage.storage import Storage


class JobOwners:
    """The owners of jobs, as their records in the bucket say. Safe to share by threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def check(self, job_id: str, token: TokenRecord) -> None:
        """Raise `UnknownJob` for a job of somebody else; what isn't from a gateway is admins'."""
        if "admin" in token.scopes:
            return
        if read_any_record(self._storage, job_id).owner != token.owner:
            raise UnknownJob(f"no job {job_id!r} in {self._storage.uri('jobs/')}")
