"""A job's ledger, written anew from what object storage holds: that is the truth."""

from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.records import ChunkRef, JobRecord
from camfleet.jobstore import keys
from camfleet.jobstore.claim import UNCLAIMED, Claim
from camfleet.jobstore.follow_ups import forget_followed_up, read_followed_up
from camfleet.jobstore.records import latest_retry
from camfleet.jobstore.totals import Totals
from camfleet.storage.storage import Storage


def rebuild(
    record: JobRecord,
    storage: Storage,
    ledger: Ledger,
    claim: Claim = UNCLAIMED,
) -> list[ChunkRef]:
    """Write the ledger anew from the results parts that exist; return the chunks to run.

    Those are the missing and the damaged ones, and those that the latest retry hasn't replaced. The
    claim is renewed before each part is read. The ledger changes at the end, in one step: what
    workers count before that is forgotten, and counted again when they meet those chunks done.
    """
    from camfleet.jobstore.results_parts import Outcomes

    outcomes = Outcomes(storage)
    there = set(storage.keys(keys.results(record.job_id)))
    latest = latest_retry(storage, record)
    number = latest.number if latest else 0
    retried = set(latest.chunks) if latest else set()
    done, missing, held = [], [], Totals()
    for first in record.refs():
        claim.renew()
        ref = replace(first, retry=number)
        listed = keys.results_part(record, ref) in there
        found = outcomes.find_readable(record, ref) if listed else None
        again = (ref.model, ref.part) in retried
        if found and (not again or found.retry >= number):
            done.append(record.number(ref))
        else:
            missing.append(ref)
            found = (outcomes.before(record, ref) or found) if again else None
        held.add(Totals.of(found.images if found else ()))
    followed = None
    if record.follow_ups:
        followed = read_followed_up(storage, record, number)
    if followed and missing:
        forget_followed_up(storage, record.job_id)
    ledger.open(record, number, done=done, held=held, followed=None if missing else followed)
    return missing
