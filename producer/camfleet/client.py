"""The producer: explain one image now, or submit a job of many."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from camfleet.broker.app import close_app, make_app
from camfleet.broker.heartbeats import Heartbeats, WorkerState
from camfleet.broker.ledger import Ledger
from camfleet.broker.progress import Progress
from camfleet.contract import messages
from camfleet.contract.codec import decode, encode
from camfleet.contract.messages import ExplainRequest
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Fuse, Method, Outputs
from camfleet.contract.records import Item
from camfleet.contract.targets import parse_inputs, parse_layers, parse_target
from camfleet.errors import InvalidRequest, UnknownJob
from camfleet.interactive.answer import Answer
from camfleet.interactive.register import Models
from camfleet.interactive.rpc import Calls
from camfleet.jobs import job
from camfleet.jobs.job import Job
from camfleet.jobs.options import DEFAULT_QUESTION, Question, check_callback
from camfleet.jobs.submit import Submitter
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.registry import Report
from camfleet.settings import Settings
from camfleet.sources import sources
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.jobs.dry_run import Rehearsal


class Client:
    """The producer's side of camfleet. Safe to share by threads; close it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return a client for the CAMFLEET_ variables; raise `ConfigurationError`."""
        return cls(Settings.from_environ(environ))

    @cached_property
    def storage(self) -> Storage:
        return Storage(self.settings)

    @cached_property
    def models(self) -> Models:
        return Models(self.storage, self._check)

    def explain(
        self,
        image_uri: str,
        *,
        model: str,
        target: str = "top",
        method: Method = "gradcam",
        layer: str = "auto",
        fuse: Fuse | None = None,
        inputs: Mapping[str, Sequence[float] | float] | None = None,
        outputs: Outputs = DEFAULT_OUTPUTS,
    ) -> Answer:
        """Ask for the explanation of one image and return a handle at once.

        `image_uri` is an s3, http(s) or file URI, or a path that the worker may read; `model` is
        an id or `id@version`; `target`, `layer` and `inputs` (of a model that has more than the
        image) are as in `camfleet.contract.targets`; `fuse` says
        how the maps of several layers become one.
        """
        request = decode(
            {
                "image_uri": _absolute(image_uri),
                "model": model,
                "target": target,
                "method": method,
                "layer": layer,
                "fuse": fuse,
                "inputs": json.dumps(dict(inputs)) if inputs else None,
                "outputs": encode(outputs),
            },
            ExplainRequest,
        )
        parse_target(target)
        parse_layers(layer)
        parse_inputs(request.inputs)
        pending = self._calls.send(messages.EXPLAIN_TASK, request)
        return Answer(pending, self._calls, request.image_uri)

    def submit(
        self,
        source: str | Iterable[str | Item],
        *,
        models: Sequence[str],
        job_id: str | None = None,
        keep_duplicates: bool = False,
        on_progress: Callable[[int], None] = lambda _count: None,
        **question: Unpack[Question],
    ) -> Job:
        """Write a job's manifest and record to storage, queue its chunks, and return the job.

        `source` is one source or several: images, folders, globs, `s3://bucket/prefix/`,
        manifest files (see `camfleet.sources`), or `Item`s. The source is streamed: memory stays
        flat. The same image with the same target and inputs is explained once, unless
        `keep_duplicates`. A `job_id` that exists is not submitted again: the job's `note` says
        so. `on_progress` is told the number of images written so far.
        """
        order = self._order(models, question)
        self._ledger.ping()
        return self._submitter.submit(
            order,
            self._items([source] if isinstance(source, str) else source),
            job_id=job_id or job.new_id(),
            keep_duplicates=keep_duplicates,
            on_progress=on_progress,
        )

    def _order(self, models: Sequence[str], question: Question) -> dict[str, Any]:
        """Return the fields of a job's record that the caller chooses, checked."""
        refs = [self.models.find(name) for name in models]
        if not refs:
            raise InvalidRequest("a job needs at least one model")
        asked = {**DEFAULT_QUESTION, **question}
        parse_layers(asked["layer"])
        self._check_target(asked["target"], [ref.digest for ref in refs])
        if asked["callback"] is not None:
            check_callback(asked["callback"])
        outputs = encode(decode(encode(asked["outputs"]), Outputs))
        return {**asked, "models": [encode(ref) for ref in refs], "outputs": outputs}

    def rehearse(
        self,
        source: str | Iterable[str | Item],
        *,
        models: Sequence[str],
        keep_duplicates: bool = False,
        sample: bool = True,
        on_progress: Callable[[int], None] = lambda _count: None,
        timeout: float = 120,
        **question: Unpack[Question],
    ) -> "Rehearsal":
        """Do all of `submit` but the writing: count, check the models, and read some images.

        A worker loads the models and, with `sample`, tries to read some of the images. Broken
        lines of manifests are counted, not raised.
        """
        from camfleet.jobs.dry_run import Count, Rehearsal, unreadable
        from camfleet.sources.duplicates import Unique

        order = self._order(models, question)
        count = Count()
        with Unique() as unique:
            stream = self._items([source] if isinstance(source, str) else source, count.broke)
            count.count(stream if keep_duplicates else unique(stream), on_progress)
        for ref in order["models"]:
            self._calls.check(ref["digest"], timeout)
        uris = tuple(count.samples if sample else ())
        return Rehearsal(
            items=count.items,
            duplicates=unique.dropped,
            broken=count.broken,
            broken_lines=tuple(count.broken_lines),
            images=count.items * len(order["models"]),
            chunks=-(-count.items // self.settings.chunk_size) * len(order["models"]),
            models=tuple(f"{ref['id']}@{ref['version']}" for ref in order["models"]),
            sampled=len(uris),
            unreadable=tuple(unreadable(uris, self._calls.probe(uris, timeout))),
        )

    def workers(self) -> list[WorkerState]:
        """Return the workers that live, by name, and what they do."""
        heartbeats = Heartbeats(self.settings)
        try:
            return heartbeats.workers()
        finally:
            heartbeats.close()

    def job(self, job_id: str) -> Job:
        """Return the handle of a job that was submitted before."""
        return Job(job_id, self.storage, self._ledger)

    def jobs(self) -> Iterator[Progress]:
        """Yield the progress of all jobs that Redis knows, newest first."""
        for job_id in self._ledger.jobs():
            try:
                yield self._ledger.progress(job_id)
            except UnknownJob:  # it ended long ago
                continue

    def resume(self, job_id: str) -> Job:
        """Run what is missing of a job, from object storage alone.

        The ledger is written anew, into an empty Redis too; a cancelled job goes on. Raises
        `UnknownJob` where storage holds no such job.
        """
        return self._submitter.resume(job_id)

    def retry(self, job_id: str, codes: Iterable[str] = ()) -> tuple[Job, int]:
        """Run failed images of a complete job again: those of some error codes, none: all.

        Returns the job and the number of images. Their rows are replaced when they're done; the
        old ones are kept in `jobs/JOB/history/`. Raises `UnknownJob`, and `InvalidRequest` where
        the job isn't complete.
        """
        return self._submitter.retry(job_id, tuple(dict.fromkeys(codes)))

    def upload(self, path: Path | str) -> str:
        """Put a local image into the bucket, under its own digest, and return its URI."""
        path = Path(path)
        if not path.is_file():
            raise InvalidRequest(f"{path}: no such file")
        suffix = path.suffix.lower()
        key = keys.upload(cards.file_digest(path), suffix)
        self.storage.upload(key, str(path))
        return self.storage.uri(key)

    def close(self) -> None:
        """Close all connections."""
        if "_app" in self.__dict__:
            close_app(self._app)
        for name in ("storage", "_ledger"):
            if name in self.__dict__:
                getattr(self, name).close()

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
    def _app(self) -> Any:
        return make_app(self.settings)

    @cached_property
    def _calls(self) -> Calls:
        return Calls(self.settings, self._app, self._ledger)

    @cached_property
    def _submitter(self) -> Submitter:
        return Submitter(self.settings, self._app, self.storage, self._ledger)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.settings)

    def _check(self, digest: str, timeout: float) -> Report:
        return self._calls.check(digest, timeout)

    def _check_target(self, target: str, digests: list[str]) -> None:
        parsed = parse_target(target)
        for card in map(self.models.card, digests):
            if parsed.kind == "label":
                card.class_index(parsed.label)
            elif parsed.kind == "index" and card.label_list:
                card.check_index(parsed.index)

    def _items(
        self,
        each: Iterable[str | Item],
        on_broken: Callable[[InvalidRequest], None] | None = None,
    ) -> Iterable[Item]:
        for source in each:
            if isinstance(source, Item):
                yield decode(encode(source), Item)
            else:
                yield from sources.items(source, self.storage, on_broken)


def _absolute(image_uri: str) -> str:
    return image_uri if "://" in image_uri else os.fspath(Path(image_uri).resolve())
