"""Writes a job's results into a folder, in the format of an annotation tool."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camfleet.contract.records import JobRecord
from camfleet.errors import ConfigurationError, InvalidRequest
from camfleet.exports import coco, label_config
from camfleet.exports.coco import Coco, CocoResults
from camfleet.exports.cvat import Cvat
from camfleet.exports.fiftyone import FiftyOne
from camfleet.exports.files import encode, new_file
from camfleet.exports.images import COLUMNS, HEAT_COLUMNS, Count, Failure, Image, Places, images
from camfleet.exports.label_studio import LabelStudio
from camfleet.exports.labels import Labels, classes_of, mapping_of
from camfleet.exports.predictions import Predictions
from camfleet.exports.voc import Voc
from camfleet.exports.writer import (
    NOTICE,
    ExportShape,
    Plan,
    Writer,
    full_version,
    version_of_job,
)
from camfleet.exports.yolo import Yolo
from camfleet.foreign import without_secrets
from camfleet.jobstore.parquet import Table
from camfleet.registry.registry import Registry
from camfleet.results.narrow import without_fields
from camfleet.results.query import Selection
from camfleet.storage.storage import Storage
from camfleet.whole import whole_folder

PER_FILE = 10_000  # images: larger files are refused by some tools


@dataclass(frozen=True)
class Format:
    """A format: its writer, the shapes that it can hold, those before others by default.

    `config` reads the file of `--config`; without `classes` it says nothing of an image without a
    shape. `asked` are shapes that nobody gets who doesn't ask for them. With `splits` a file holds
    so many images, with `apart` each image has one of its own, or with `apart_heat` its heatmap.
    With `places` it says where a tool reads images from, and not only their names.
    """

    writer: Callable[[Plan], Writer]
    shapes: tuple[ExportShape, ...]
    asked: tuple[ExportShape, ...] = ()
    classes: bool = False
    config: Callable[[Path], Any] | None = None
    heat: bool = False
    splits: bool = False
    apart: bool = False
    apart_heat: bool = False
    places: bool = False


FORMATS: dict[str, Format] = {
    "coco": Format(Coco, ("polygon", "box"), ("rle",), splits=True),
    "coco-results": Format(CocoResults, ("box",), ("rle",), config=coco.truth, splits=True),
    "label-studio": Format(
        LabelStudio,
        ("box", "polygon"),
        ("rle",),
        classes=True,
        config=label_config.read_config,
        heat=True,
        splits=True,
        places=True,
    ),
    "voc": Format(Voc, ("box",), apart=True),
    "yolo": Format(Yolo, ("box",), ("polygon",), apart=True),
    "cvat": Format(Cvat, ("polygon", "box"), ("rle",), classes=True, splits=True),
    "fiftyone": Format(
        FiftyOne, ("box", "polygon"), classes=True, heat=True, apart_heat=True, places=True
    ),
}


@dataclass(frozen=True)
class Options:
    """How to export: see the command's options of these names."""

    form: str
    shape: ExportShape | None = None
    labels: Path | Mapping[str, Any] | None = None
    config: Path | label_config.LabelConfig | None = None
    places: Places = field(default_factory=Places)
    per_file: int = PER_FILE
    heat: bool = False


class Export:
    """An export of a job's selected rows, checked before anything is read or written."""

    def __init__(
        self, record: JobRecord, storage: Storage, options: Options, filters: Mapping[str, Any]
    ) -> None:
        """Raise `InvalidRequest` naming the option that doesn't suit the job or the format."""
        self._record = record
        self._options = options
        self._format = FORMATS[options.form]
        if options.heat:
            _need_numpy()
        columns = (*COLUMNS, *(HEAT_COLUMNS if options.heat else ()))
        self.selection = Selection.of(record, columns, filters)
        if len(self.selection.models) > 1:
            names = ", ".join(f"{model.id}@{model.version}" for model in record.models)
            raise InvalidRequest(
                f"job {record.job_id} has several models: choose one of {names} with --model"
            )
        self._model = record.models[self.selection.models[0]]
        classes = classes_of(Registry(storage), self._model)
        self._labels = Labels(classes, mapping_of(options.labels or {}, classes))
        self._config = self._read_config()
        self.shape = self._shape()

    @property
    def file_for_each(self) -> bool:
        """Return whether each image has a file of its own."""
        return self._format.apart or (self._format.apart_heat and self._options.heat)

    @property
    def version(self) -> str:
        """Return what tells Label Studio's predictions from others."""
        version = version_of_job(self._record, self._model)
        return full_version(version, self.shape, heat=self._options.heat)

    def predictions(
        self, tables: Iterable[Table], count: Count
    ) -> Iterator[tuple[Image | Failure, dict[str, Any] | None]]:
        """Yield the images of tables with their predictions for Label Studio, if they have one."""
        config = self._config
        assert isinstance(config, label_config.LabelConfig)
        config.refuse_lacks(self.shape, heat=self._options.heat)
        make = Predictions(config, self.shape, self._options.heat, self.version)
        for image in images(tables, self._labels, self._options.places, count):
            yield image, make.of(image) if isinstance(image, Image) else None

    def write(self, tables: Iterable[Table], path: Path, count: Count | None = None) -> Count:
        """Write the tables of the selected rows into a new folder; return what was met.

        `count` is kept up as they're read.
        """
        count = Count() if count is None else count
        options = self._options
        with whole_folder(path) as folder:
            plan = Plan(
                record=self._record,
                model=self._model,
                folder=folder,
                labels=self._labels,
                shape=self.shape,
                count=count,
                per_file=options.per_file,
                heat=options.heat,
                config=self._config,
            )
            unread = {"polygon", "rle"} - {self.shape}
            narrow = (without_fields(table, "regions", unread) for table in tables)
            with closing(self._format.writer(plan)) as writer:
                _write(images(narrow, self._labels, options.places, count), writer, folder)
                writer.finish()
            self._tell(plan)
        return count

    def _read_config(self) -> Any:
        """Return what the format makes of the file of --config, if there's one."""
        given, form = self._options.config, self._format
        if not given:
            return None
        assert form.config, self._options.form
        found = form.config(given) if isinstance(given, Path) else given
        suits = isinstance(found, label_config.LabelConfig)
        return found.suiting(self._labels.names) if suits else found

    def _shape(self) -> ExportShape | None:
        """Return the shape to write; raise `InvalidRequest` where the job or format lacks it."""
        form, wanted = self._format, self._options.shape
        regions = self._record.outputs.regions
        stored = ("box", *regions.shapes) if regions else ()
        if wanted:
            if wanted not in (*form.shapes, *form.asked):
                there = " or ".join((*form.shapes, *form.asked))
                raise InvalidRequest(f"--format {self._options.form} takes --shape {there}")
            if wanted in stored:
                return wanted
            raise InvalidRequest(self._lacks(wanted))
        for shape in form.shapes:
            if shape in stored and self._suits(shape):
                return shape
        if form.classes:
            return None
        raise InvalidRequest(self._lacks(form.shapes[0]))

    def _suits(self, shape: ExportShape) -> bool:
        config = self._config
        if isinstance(config, label_config.LabelConfig):
            return label_config.OF_SHAPE[shape] in config.controls
        return True

    def _lacks(self, shape: str) -> str:
        return (
            f"the results of job {self._record.job_id} have no {shape} of regions: submit it again "
            f"with --shape {shape}"
        )

    def _tell(self, plan: Plan) -> None:
        """Write for people what the folder is."""
        count, regions = plan.count, self._record.outputs.regions
        threshold = f", of heat that reaches {regions.threshold}" if regions and plan.shape else ""
        shape = plan.shape or "classes only"
        lines = [
            NOTICE,
            "",
            f"Job {self._record.job_id}, {plan.version}.",
            f"{count.images} images, {count.annotations} annotations ({shape}{threshold}).",
            f"{count.without_evidence} rows without evidence have no shape.",
            f"{count.counter} rows of what speaks against a class (not:) are left out.",
            f"{count.unlabelled} rows of classes without a label are left out.",
            f"{count.failed} images failed: failed.jsonl says why.",
        ]
        with new_file(plan.folder, "README.txt") as file:
            file.write("\n".join([*lines, ""]).encode())


def _need_numpy() -> None:
    try:
        import camfleet.exports.heat  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "--heat needs NumPy, which isn't installed: pip install numpy"
        ) from error


def _write(found: Iterable[Any], writer: Writer, folder: Path) -> None:
    with new_file(folder, "failed.jsonl") as failed:
        for image in found:
            if isinstance(image, Failure):
                failed.write(
                    encode(
                        {
                            "item_id": image.item_id,
                            "image_uri": without_secrets(image.uri),
                            "error_code": image.code,
                            "error_message": image.message,
                        }
                    )
                    + b"\n"
                )
            else:
                writer.add(image)
