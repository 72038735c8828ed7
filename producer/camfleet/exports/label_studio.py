"""Label Studio: tasks with predictions, in files that its import takes."""

from camfleet.exports.files import JsonList, new_file
from camfleet.exports.images import Image
from camfleet.exports.label_config import made_config
from camfleet.exports.predictions import Predictions, regions_in
from camfleet.exports.writer import Plan, full_version

_MOST_BYTES = 200 * 2**20  # of a file: Label Studio takes 250 MiB
ITEM = "camfleet_item"  # of a task's data: the item's id


class LabelStudio:
    """Writes `tasks-00001.json` and so on, and without a label config one that suits them.

    A task has one prediction: the class of the lowest rank as a choice, and the regions of all.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        if plan.config is None:
            text, config = made_config(plan.labels.names, plan.shape, heat=plan.heat)
            with new_file(plan.folder, "label-config.xml") as file:
                file.write(text.encode())
        else:
            config = plan.config
            config.refuse_lacks(plan.shape, heat=plan.heat)
        version = full_version(plan.version, plan.shape, heat=plan.heat)
        self._predictions = Predictions(config, plan.shape, plan.heat, version)
        # Last: nobody closes it if something above is refused.
        self._tasks = JsonList(plan.folder)

    def add(self, image: Image) -> None:
        if self._tasks.members == self._plan.per_file or self._tasks.bytes > _MOST_BYTES:
            self._write()
        prediction = self._predictions.of(image)
        self._plan.count.annotations += regions_in(prediction)
        data = self._predictions.config.value.data(image.place) | {ITEM: image.item_id}
        self._tasks.add({"data": data, "predictions": [prediction] if prediction else []})

    def finish(self) -> None:
        if self._tasks.members or not self._plan.count.files:
            self._write()

    def close(self) -> None:
        self._tasks.close()

    def _write(self) -> None:
        name = f"tasks-{len(self._plan.count.files) + 1:05}.json"
        with new_file(self._plan.folder, name) as file:
            self._tasks.write(file)
        self._plan.count.files.append(name)
        self._tasks.close()
        self._tasks = JsonList(self._plan.folder)
