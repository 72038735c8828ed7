"""Which fleets use a bucket: workers of each leave a sign there now and then, dated by the store.

Fleets on different Redis servers don't know of each other, and one bucket is for one fleet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from camfleet.contract.checks import Check
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import FleetRecord
from camfleet.errors import CamfleetError, InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

SIGN_SECONDS = 600.0  # between two signs of a fleet
_ALIVE_SECONDS = 3 * SIGN_SECONDS
_MOST = 1000  # signs that are looked at
_MOST_BYTES = 4096
_LONGEST = 200  # characters of a server's name
_FORM = 2
_COSTS = (
    "where fleets share a bucket each runs every review, and a deletion doesn't see jobs that the "
    "other has at work: give each fleet a bucket of its own. The fleet of a Redis that was emptied "
    "or replaced is forgotten after half an hour"
)


@dataclass(frozen=True)
class OtherFleet:
    """A fleet that used the bucket so many seconds ago, and what its workers call their Redis."""

    fleet_id: str
    redis: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.fleet_id}, on {self.redis}, {self.seconds / 60:.0f} min ago"


def sign(storage: Storage, fleet_id: str, redis: str) -> None:
    """Say that a fleet uses the bucket, on a Redis of this name."""
    record = FleetRecord(schema_version=_FORM, id=fleet_id, redis=redis[:_LONGEST])
    data = encode_json(sealed(record, _FORM))
    storage.put(keys.fleet(fleet_id), data, "application/json")


def take_away(storage: Storage, fleet_id: str) -> None:
    """Say that there's no such fleet any more."""
    storage.delete([keys.fleet(fleet_id)])


def other_fleets(storage: Storage, own: str | None) -> Iterator[OtherFleet]:
    """Yield the fleets that used the bucket within half an hour; what isn't a sign is left out."""
    now = storage.now()
    for found in islice(storage.objects(keys.fleet()), _MOST):
        age = max(0.0, now - found.modified_at)
        if age > _ALIVE_SECONDS:
            continue
        try:
            record = objects.read_document(storage, found.key, FleetRecord, _MOST_BYTES)
        except (ObjectMissing, InvalidRequest):
            continue
        if found.key == keys.fleet(record.id) and record.id != own:
            yield OtherFleet(record.id, record.redis, age)


def check(storage: Storage, own: str | None) -> Check:
    """Return whether the bucket is this fleet's alone."""
    what = "one fleet in the bucket"
    try:
        others = [*map(str, other_fleets(storage, own))]
    except CamfleetError as error:
        return Check(what=what, found=f"nobody can tell: {error}", costs=_COSTS)
    if not others:
        return Check(what=what, found="no other was there within half an hour")
    return Check(what=what, found=f"another is there: {'; '.join(others)}", costs=_COSTS)
