"""The producer's face: explain one image now, or submit a job of many."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from camfleet.broker.heartbeats import WorkerState
from camfleet.broker.progress import Progress
from camfleet.contract import messages
from camfleet.contract.codec import decode
from camfleet.contract.messages import ExplainRequest
from camfleet.contract.results import Result
from camfleet.contract.targets import inputs_text, parse_inputs
from camfleet.exports.verbs import Exporting
from camfleet.interactive.answer import Answer, results_of
from camfleet.interactive.connections import Connections
from camfleet.interactive.register import Models
from camfleet.jobs import job
from camfleet.jobs.caller import Caller, checked
from camfleet.jobs.fleet import Fleet
from camfleet.jobs.inspection import Inspection
from camfleet.jobs.job import Job
from camfleet.jobs.options import ExplainOptions, JobOptions, request_fields
from camfleet.jobs.order import ModelName, make_order, model_name, models_of
from camfleet.jobs.resuming import Resuming
from camfleet.jobs.retention.verbs import Retiring
from camfleet.jobs.reviews.added import review_added
from camfleet.jobs.reviews.reviews import Reviews
from camfleet.jobs.submit import Submitter
from camfleet.pictures.pictures import Pictures
from camfleet.settings import Settings
from camfleet.sources import sources, uploads
from camfleet.sources.left_out import LeftOutCounter
from camfleet.sources.sources import Source
from camfleet.sources.uploads import Image

if TYPE_CHECKING:
    from camfleet.audit.reporting import Reporter
    from camfleet.jobs.dry_run import DryRun


class Client(Connections, Retiring, Resuming, Exporting):
    """The producer's side of camfleet. Safe to share by threads; close it at the end.

    After a fork the child uses it, and what it returned, with connections of its own.
    """

    def __init__(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            raise TypeError(
                f"settings is of type {type(settings).__name__}, not camfleet.Settings: "
                "Client.from_environ() reads them from the environment"
            )
        super().__init__(settings)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return a client for the CAMFLEET_ variables; raise `ConfigurationError`."""
        return cls(Settings.from_environ(environ))

    @cached_property
    def models(self) -> Models:
        told = partial(review_added, self._runs)
        return Models(self.storage, self._check_model, self.settings.user, told)

    @cached_property
    def reviews(self) -> Reviews:
        """Reviews of new versions of models, by a frozen set of images."""
        return self.reviews_of(self.settings.user)

    def reviews_of(self, user: str) -> Reviews:
        """Return the reviews for a user of a program: whose name their history shows."""
        return Reviews(self._parts(user, self.reporter, self.submit, self.retry, self.job))

    @cached_property
    def pictures(self) -> Pictures:
        return Pictures(self.storage, self._rpc, self.settings.max_image_bytes, self.clouds)

    def explain(
        self,
        image: Image,
        *,
        model: ModelName,
        inputs: Mapping[str, Sequence[float] | float] | None = None,
        **options: Unpack[ExplainOptions],
    ) -> Answer:
        """Ask for the explanation of one image and return a handle at once.

        `image` is an s3, http(s) or file URI, a path that the worker may read, or bytes or a file
        opened with "rb", which are uploaded to the bucket. `model` is an id or "id@version", or
        what `models.add` returned; `inputs` are values of inputs other than the image, by name.

        What to explain:

        - `target`: "top" (the default), "top:3", a class index, a label, "above:0.5" for every
          class of at least that probability, and "not:" before any of these for what speaks
          against it
        - `method`: "gradcam" (the default), "cam", "hirescam", "layercam", "xgradcam", "gradcam++"
        - `layer`: "auto" (the default: as the card says), a path such as "backbone/relu", or a
          list of several, whose maps `fuse` ("mean" or "max") makes one
        - `precision`: "float32" or "bf16"; left out as the card says

        What to write:

        - `pictures`: some of "heatmap", "overlay" (both are the default), "raw" and
          "thumbnail"; [] for none
        - `colormap`: "turbo" (the default), "viridis", "inferno", "jet"
        - `opacity`: the heat's share of an overlay, 0 to 1 (0.5)
        - `max_side`: an overlay's longest side in pixels (1024); 0 for the photograph's own

        Which shapes to derive:

        - `shapes`: some of "box", "rle" and "polygon"; none by default
        - `threshold`: where a region begins, as a fraction of the map's maximum (0.5), or "otsu"
        - `components`: "largest" (the default) or "all" connected regions

        Or `outputs`, an `Outputs`, says in one what to write and derive. Raises `InvalidRequest`,
        and `TypeError` for an argument of a wrong type.
        """
        fields = request_fields(options)
        text = inputs_text(inputs)
        parse_inputs(text)
        plain = {"image_uri": uploads.locate(image, self.storage), "model": model_name(model)}
        request = decode({**plain, "inputs": text, **fields}, ExplainRequest)
        task_id = self._rpc.send(messages.EXPLAIN_TASK, request)
        return Answer(task_id, self._rpc, request)

    def answer(self, answer_id: str) -> tuple[Result, ...] | None:
        """Return what `Answer.result` of that `Answer.id` returns, None as long as there's none.

        Any process may ask, for CAMFLEET_ANSWER_EXPIRES. Raises what the answer names instead.
        """
        if not self._rpc.is_ready(answer_id):
            return None
        return results_of(self._rpc.wait_for(answer_id, 10, f"the request {answer_id}"))

    def submit(
        self,
        source: Source | Iterable[Source],
        *,
        models: ModelName | Iterable[ModelName],
        job_id: str | None = None,
        keep_duplicates: bool = False,
        keep_columns: Sequence[str] = (),
        upload: bool = False,
        force: bool = False,
        caller: Caller | None = None,
        on_progress: Callable[[int], None] = lambda _count: None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Write a job's manifest and record to storage, queue its chunks, and return the job.

        `source` is one source or several: images, folders, globs, "s3://bucket/prefix/", manifest
        files, or `Item`s. It's streamed: memory stays flat. `models` is one model or several, and
        the other keywords are those of `explain` and `callback`, an http(s) URL that is told of
        the job's end. The same image with the same target, inputs and kept columns is explained
        once, unless `keep_duplicates`. `keep_columns` of manifests come with the results, and with
        `upload` local images are sent to the bucket for the workers. A `job_id` that exists is not
        submitted again: the job's `note` says so, and its `warnings` what it has to wait for.
        `on_progress` is told the number of images written so far. `caller` is for whom a program
        that others use submits it.

        A job that can't succeed is refused, unless `force`: as far as the models' reports and the
        live workers tell. Raises `InvalidRequest` and other `CallerError`s, and `TypeError` for an
        argument of a wrong type.
        """
        left_out = LeftOutCounter()
        items = sources.stream(source, self.storage, keep=keep_columns, left_out=left_out)
        order = make_order(self.models, models, options, keep_columns)
        if caller:
            items, order = caller.checked(items), {**order, **caller.fields}
        self._ledger.ping()
        fleet = Fleet(self.workers(), self.settings.bucket)
        inspection = Inspection(order, models_of(self.models, order), fleet)
        sent = uploads.LocalUploads(self.storage)
        made = self._submitter.submit(
            order,
            inspection.admit(sent.of(items) if upload else items, force=force),
            job_id=job_id or job.new_id(),
            keep_duplicates=keep_duplicates,
            on_progress=on_progress,
            left_out=left_out.kinds,
        )
        waits = fleet.warnings(*made.record().lane)
        made.warnings = (*sent.warnings(), *inspection.findings(), *waits)
        return made

    def dry_run(
        self,
        source: Source | Iterable[Source],
        *,
        models: ModelName | Iterable[ModelName],
        job_id: str | None = None,
        keep_duplicates: bool = False,
        keep_columns: Sequence[str] = (),
        sample: bool = True,
        check: Callable[[str], None] | None = None,
        on_progress: Callable[[int], None] = lambda _count: None,
        timeout: float = 120,
        **options: Unpack[JobOptions],
    ) -> "DryRun":
        """Do all of `submit` but the writing: count, check the models, and read some images.

        A worker loads the models and, with `sample`, tries to read some of the images. Broken
        lines of manifests are counted, and what nobody could find out, without a worker or within
        `timeout` seconds, is said, and that `job_id` exists. `check` raises for forbidden URIs.
        """
        from camfleet.jobs.dry_run import DryRunner

        note = self._submitter.note_of(job_id) if job_id else None
        order = make_order(self.models, models, options, keep_columns)
        fleet = Fleet(self.workers(), self.settings.bucket, local_files=sample)
        runner = DryRunner(
            order, models_of(self.models, order), fleet, self._rpc, timeout, sample=sample
        )
        return runner.run(
            checked(runner.stream(source, self.storage, keep_columns), check),
            chunk_size=self.settings.chunk_size,
            keep_duplicates=keep_duplicates,
            on_progress=on_progress,
            note=note,
        )

    def reporter(self, *, timeout: float = 60) -> "Reporter":
        """Return what makes reports on jobs; workers have `timeout` seconds for pictures.

        And ten times as many for studies, which wait among the chunks of jobs. Raises
        `ConfigurationError` where the extra `report` isn't installed.
        """
        from camfleet.jobs.extras import reporter

        ask, study = self._rpc.thumbnails, self._rpc.study
        asks = partial(ask, timeout=timeout), partial(study, timeout=10 * timeout)
        return reporter(self.storage, *asks)

    def workers(self) -> list[WorkerState]:
        """Return the live workers, by name, and what they're doing."""
        return self._live_workers()

    def job(self, job_id: str) -> Job:
        """Return the handle of a job that was submitted earlier."""
        return Job(job_id, self.storage, self._ledger)

    def jobs(self) -> Iterator[Progress]:
        """Yield the progress of every job that Redis knows, newest first; log a damaged one."""
        return self._ledger.progress_of_all()

    def retry(self, job_id: str, codes: Iterable[str] = ()) -> tuple[Job, int]:
        """Run a complete job's failed images again: all, or those with one of the error `codes`.

        Returns the job and the number of images. Their new rows replace the old ones, which are
        kept in `jobs/JOB/history/`. Raises `UnknownJob`, and `InvalidRequest` unless the job is
        complete.
        """
        return self._submitter.retry(job_id, tuple(dict.fromkeys(codes)))

    def upload(self, image: Image) -> str:
        """Put an image into the bucket, under its own digest, and return its URI.

        `image` is the path of a local file, bytes, or a file opened with "rb".
        """
        return uploads.upload(image, self.storage)

    def __repr__(self) -> str:
        return f"Client(bucket={self.settings.bucket!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _submitter(self) -> Submitter:
        return Submitter(self.settings, self.storage, self._ledger)
