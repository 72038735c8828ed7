"""Reports and comparisons from end to end: read results, show photographs, write files."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from camfleet.audit import files, photographs
from camfleet.audit.comparisons import comparison
from camfleet.audit.comparisons import page as comparison_page
from camfleet.audit.comparisons.document import Comparison
from camfleet.audit.comparisons.sides import Side
from camfleet.audit.comparisons.verdict import Limits
from camfleet.audit.document import Report
from camfleet.audit.photographs import Ask, Photographs
from camfleet.audit.reports import page, report, tables
from camfleet.audit.studies import asking, faithfulness, floor
from camfleet.audit.studies.document import Faithfulness, ModelFaithfulness
from camfleet.contract.records import JobRecord
from camfleet.contract.studies import FloorRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore.records import read_record
from camfleet.storage.storage import Storage

OnStep = Callable[[int], object]


def _ignore(_count: int) -> None: ...


class Reporter:
    """Makes reports on jobs, and compares them.

    `ask` has a worker make small pictures, `study` has one study rows.
    """

    def __init__(self, storage: Storage, ask: Ask, study: asking.Ask | None = None) -> None:
        self._storage = storage
        self._ask = ask
        self._study = study

    def record(self, job_id: str) -> JobRecord:
        """Return what was asked; raise `UnknownJob`."""
        return read_record(self._storage, job_id)

    def check_place(self, place: str, job_id: str | None = None) -> None:
        """Raise `InvalidRequest` for a place to which no report, of this job, may be written."""
        files.check_place(self._storage, place, job_id)

    def make(self, record: JobRecord, on_part: OnStep = _ignore) -> Report:
        """Return the report on a job's results, in flat memory.

        `on_part` is told of each part that was read. Results that are missing are counted as such.
        Raises `ObjectDamaged` naming a part that can't be read.
        """
        found = report.collect(record, self._storage, lambda: on_part(1))
        return report.make(record, self._storage, found)

    def photographs(self, made: Report, on_picture: OnStep = _ignore) -> Photographs:
        """Return the pictures that the page shows, or why there's none of an image."""
        wanted = photographs.wanted(made)
        return photographs.load(made.job_id, wanted, self._storage, self._ask, on_picture)

    def write(
        self, made: Report, photos: Photographs, place: str, on_file: OnStep = _ignore
    ) -> str:
        """Write a report's files to a folder or below `s3://bucket/prefix`; return the page's.

        The page is written last; `on_file` is called before each. Raises `InvalidRequest` where a
        folder can't be written.
        """
        self.check_place(place, made.job_id)
        found = {**tables.files(made), "report.json": files.as_json(made)}
        return self._write(found, page.render(made, photos), place, on_file)

    def fetch(self, job_id: str, folder: str) -> str:
        """Copy the report that a worker wrote to a folder; return the page's path.

        Also where the job's results were pruned. Raises `UnknownJob`, and what `files.fetch` does.
        """
        record = read_record(self._storage, job_id, pruned_too=True)
        if folder.startswith("s3://"):
            raise InvalidRequest("a stored report is fetched into a folder: it's in a bucket now")
        self.check_place(folder)
        return files.fetch(self._storage, record, folder)

    def stored(self, job_id: str) -> Report | None:
        """Return the report that a worker wrote, None where none is, or one of another version.

        Raises `UnknownJob`.
        """
        record = read_record(self._storage, job_id, pruned_too=True)
        with suppress(InvalidRequest, ObjectMissing):
            return files.read_report(self._storage, record)
        return None

    def measure_floor(
        self,
        side: Side,
        images: int = floor.IMAGES,
        on_image: OnStep = _ignore,
        on_part: OnStep = _ignore,
    ) -> FloorRecord:
        """Have workers measure what noise does to a side's maps, and keep it with its job.

        On so many images, or all if there are fewer; what was measured before is returned as it is.
        `on_part` is told of each results part that's read to choose them.
        `compare` finds it for its first side. Raises `AnswerTimeout` where no worker answers, and
        `ModelRefused`; what was answered until then isn't asked for again.
        """
        if self._study is None:
            raise InvalidRequest("nobody can be asked here to measure a floor")
        return floor.measure(
            side.record,
            side.model,
            images,
            self._storage,
            self._study,
            on_image=on_image,
            on_part=on_part,
        )

    def faithfulness(
        self,
        record: JobRecord,
        sample: int = faithfulness.SAMPLE,
        *,
        models: Iterable[int] | None = None,
        on_part: OnStep = _ignore,
        on_row: OnStep = _ignore,
        on_larger: Callable[[ModelFaithfulness], object] = lambda _kept: None,
    ) -> Faithfulness:
        """Have workers measure how faithful maps are, and keep it with the job; see `run`.

        `models` are numbers of models of the job. What was answered before isn't asked for again.
        What a larger sample of the same results has found stays; `on_larger` is told of it.
        Raises `AnswerTimeout` where no worker answers; a model that can't be measured is named.
        """
        if self._study is None:
            raise InvalidRequest("nobody can be asked here to measure faithfulness")
        return faithfulness.run(
            record,
            self._storage,
            self._study,
            sample,
            models=models,
            on_part=on_part,
            on_row=on_row,
            on_larger=on_larger,
        )

    def compare(
        self,
        one: Side,
        other: Side,
        place: str,
        *,
        limits: Limits | None = None,
        show: bool = True,
        ours: bool = False,
        on_part: OnStep = _ignore,
    ) -> tuple[Comparison, str]:
        """Compare two sides, write the files as `write` does; return what was found, and the page.

        Noise is what `measure_floor` found of the first side, or a usual one. Without `show` the
        page has no photographs; `ours`: the place is among camfleet's own, such as a review's.
        Raises `InvalidRequest` where the sides were explained in different ways.
        """
        if not ours:
            self.check_place(place)
        with tempfile.TemporaryFile() as pairs:
            found = comparison.compare(
                one,
                other,
                self._storage,
                limits=limits or Limits(),
                noise=floor.read(one.record, one.model, self._storage),
                pairs=pairs,
                on_part=lambda: on_part(1),
            )
            pairs.seek(0)
            table = pairs.read()
        wanted = comparison_page.wanted(found)
        photos = {}
        if show:
            job_id = found.one.job_id
            photos = photographs.load(job_id, wanted, self._storage, self._ask)
        written = {"pairs.parquet": table, "comparison.json": files.as_json(found)}
        return found, self._write(written, comparison_page.render(found, photos), place)

    def _write(
        self, found: Mapping[str, bytes], html: str, place: str, on_file: OnStep = _ignore
    ) -> str:
        return files.write(self._storage, {**found, files.PAGE: html.encode()}, place, on_file)
