"""What is kept of faithfulness studies: read as it is now, and what a smaller sample leaves."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from camfleet.audit.movement import UNCALIBRATED, Floor, floor_of
from camfleet.audit.studies import findings, floor
from camfleet.audit.studies.document import Faithfulness, ModelFaithfulness
from camfleet.contract.codec import sealed
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

_FORM = 2  # of the document


def is_larger(before: ModelFaithfulness, found: ModelFaithfulness) -> bool:
    """Return whether findings that are kept say more about the same results.

    That's of more images; a larger sample may have fewer, as where photographs are gone meanwhile.
    """
    mine, theirs = ((one.measured, one.sample) for one in (found, before))
    return before.results == found.results and theirs > mine


def document(record: JobRecord, models: Mapping[int, ModelFaithfulness]) -> Faithfulness:
    """Return the findings of a job's models, by their numbers, as one document."""
    made = Faithfulness(
        schema_version=1,
        job_id=record.job_id,
        sample=max((one.sample for one in models.values()), default=0),
        models=tuple(models[number] for number in sorted(models)),
    )
    return sealed(made, _FORM)


def by_number(
    record: JobRecord, models: Iterable[ModelFaithfulness]
) -> Iterator[tuple[int, ModelFaithfulness]]:
    """Yield findings with the number of their model in the job."""
    names = [(ref.id, ref.version) for ref in record.models]
    for one in models:
        yield names.index((one.id, one.version)), one


def noise(record: JobRecord, number: int, storage: Storage) -> Floor:
    """Return the noise that was measured of a job's model, else a usual one."""
    with suppress(InvalidRequest):  # what can't be read wasn't measured
        if (found := floor.read(record, number, storage)) is not None:
            return floor_of(found) or UNCALIBRATED
    return UNCALIBRATED


def read(storage: Storage, record: JobRecord) -> Faithfulness | None:
    """Return what is kept of a job, None where nothing is; what can't be read is nothing.

    Noise is what's known of it now: it may have been measured since.
    """
    with suppress(ObjectMissing, InvalidRequest):
        found = objects.read_document(storage, keys.faithfulness(record.job_id), Faithfulness)
        known = {(ref.id, ref.version, ref.digest) for ref in record.models}
        named = [(one.id, one.version, one.digest) for one in found.models]
        ours = found.job_id == record.job_id and len({*named}) == len(named) and {*named} <= known
        if not ours or not all(map(findings.can_be_shown, found.models)):
            return None
        models = dict(by_number(record, found.models))
        return document(
            record,
            {
                number: findings.against(one, noise(record, number, storage))
                for number, one in models.items()
            },
        )
    return None
