"""Predictions that a worker writes back to Label Studio once the job of a selection has ended."""

from collections.abc import Callable

from camfleet.contract.follow_ups import FollowUp
from camfleet.contract.records import JobRecord
from camfleet.errors import ConfigurationError
from camfleet.exports.images import Count
from camfleet.label_studio.api import Api
from camfleet.label_studio.places import URL
from camfleet.label_studio.predicted import task_predictions
from camfleet.label_studio.writing import PredictionWriter
from camfleet.storage.storage import Storage


class PredictionMaker:
    """Writes to the one server that the settings name."""

    def __init__(self, storage: Storage, api: Api, reach: Callable[[str], None]) -> None:
        self._storage = storage
        self._api = api
        self._reach = reach

    def make(self, record: JobRecord, check: Callable[[], None]) -> FollowUp:
        """Write a job's predictions, unless they're there; `check` raises where that must end."""
        assert record.follow_ups  # else nobody asks
        wanted = record.follow_ups.label_studio
        assert wanted
        if wanted.url != self._api.server.url:
            raise ConfigurationError(
                f"the predictions are for Label Studio at {wanted.url}, and this worker's {URL} is "
                f"{self._api.server.url or 'not set'}: set it, and the token; then camfleet push "
                f"label-studio {record.job_id} writes them"
            )
        writer = PredictionWriter(
            self._api, wanted.project, wanted.version, check=check, reach=self._reach
        )
        count = Count()
        writer.write(task_predictions(record, self._storage, wanted, count, check))
        writer.finish()
        return FollowUp(
            state="done",
            uri=f"{wanted.url}/projects/{wanted.project}/data",
            note=_note(writer.count.written, writer.count.there, writer.count.gone, count.failed),
        )


def _note(written: int, there: int, gone: int, failed: int) -> str:
    others = {"had one": there, "are gone": gone, "failed": failed}
    said = [f"{number} {what}" for what, number in others.items() if number]
    return ", ".join([f"{written} tasks have a prediction now", *said])
