"""The verb of a client that exports."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.exports.job import Exportable, Exported, ExportOptions


class Exporting:
    """What a client inherits; it brings the bucket and its jobs."""

    @property
    def storage(self) -> Storage:
        raise NotImplementedError

    def job(self, job_id: str) -> "Exportable":
        raise NotImplementedError

    def export(
        self,
        job_id: str,
        form: str,
        output: str | Path,
        *,
        on_progress: Callable[[int], None] = lambda _count: None,
        **options: "Unpack[ExportOptions]",
    ) -> "Exported":
        """Write a job's results into the new folder `output` for an annotation tool.

        `form` is "coco", "coco-results", "label-studio", "voc", "yolo", "cvat" or "fiftyone". The
        keywords are the options of `camfleet export`, and the filters of `Job.results`:

        - `shape`: "box", "polygon" or "rle" (masks); left out, what suits the format and the job
        - `heat`: True writes heatmaps too, where the format has a place for them
        - `labels`: other names of classes, a dict or the path of a TOML file; False leaves one out
        - `config`: the path of Label Studio's label config, or for "coco-results" of the truth
        - `root`, `prefix`: images are named by their URIs below `root`; a tool finds them at
          `prefix` and that name
        - `per_file`: images in a file, at most (10,000)

        A box, polygon or mask says where the model looked; it's not an object's outline. Returns
        what was written, and how much of the job that is. `on_progress` is told the number of
        results parts read so far. Raises `InvalidRequest` naming the option, and `ObjectMissing`
        where results are gone; then the folder has the others.
        """
        from camfleet.exports.job import export_job, options_of

        asked, filters = options_of(form, options)
        done = export_job(self.job(job_id), self.storage, asked, filters, Path(output), on_progress)
        done.coverage.refuse_losses()
        return done
