"""Whose a job is, in one place: nobody else can tell it from a job that doesn't exist."""

from collections import OrderedDict
from datetime import datetime

from camfleet.contract.tokens import TokenRecord
from camfleet.errors import CamfleetError, UnknownJob
from camfleet.jobstore.records import read_any_record
from camfleet.storage.storage import Storage

_MOST_KNOWN = 100_000


class JobOwners:
    """The owners of jobs, as their records in the bucket say. Safe to share by threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: OrderedDict[tuple[str, datetime | None], str | None] = OrderedDict()

    def check(self, job_id: str, token: TokenRecord) -> None:
        """Raise `UnknownJob` for a job of somebody else; what isn't from a gateway is admins'."""
        if "admin" in token.scopes:
            return
        if read_any_record(self._storage, job_id).owner != token.owner:
            raise UnknownJob(f"no job {job_id!r} in {self._storage.uri('jobs/')}")

    def is_of(self, job_id: str, submitted_at: datetime | None, owner: str) -> bool:
        """Return whether a job of that time is an owner's; a record that can't be read isn't."""
        known = job_id, submitted_at
        if known not in self._known:
            try:
                self._known[known] = read_any_record(self._storage, job_id).owner
            except CamfleetError:
                return False
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return self._known[known] == owner
