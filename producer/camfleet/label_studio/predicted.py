"""A job's results as predictions for the tasks of a project, one after the other."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from camfleet.contract.follow_ups import WriteBack
from camfleet.contract.records import JobRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.exports.images import COLUMNS, HEAT_COLUMNS, Count, Image, Places, images
from camfleet.exports.label_config import parse_config
from camfleet.exports.labels import Labels, classes_of
from camfleet.exports.predictions import Predictions
from camfleet.jobstore import keys
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage


def task_predictions(
    record: JobRecord,
    storage: Storage,
    wanted: WriteBack,
    count: Count,
    on_part: Callable[[], object],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the predictions of a job of tasks, by the tasks' ids; failed images have none.

    Raises `InvalidRequest` for a label that the config lacks, and `ObjectMissing` for results that
    are gone.
    """
    from camfleet.results.coverage import Reading
    from camfleet.results.query import Selection

    labels = Labels(classes_of(Registry(storage), record.models[0]), wanted.labels)
    config = parse_config(wanted.config).suiting(labels.names)
    config.refuse_lacks(wanted.shape, heat=wanted.heat)
    predictions = Predictions(config, wanted.shape, wanted.heat, wanted.version)
    columns = (*COLUMNS, *(HEAT_COLUMNS if wanted.heat else ()))
    reading = Reading(record, storage, Selection.of(record, columns, {}))
    with closing(reading.tables(on_part)) as tables:
        for image in images(tables, labels, Places(), count):
            if isinstance(image, Image) and (prediction := predictions.of(image)):
                yield _task_id(image), prediction
    if reading.missing:
        key = keys.results_part(record, reading.missing[0])
        raise ObjectMissing(
            f"{key} is missing; camfleet resume {record.job_id} runs its images again"
        )


def _task_id(image: Image) -> int:
    if not image.item_id.isascii() or not image.item_id.isdecimal():
        raise InvalidRequest(f"the item {image.item_id!r} is no task's id: no gateway wrote it")
    return int(image.item_id)
