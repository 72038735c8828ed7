"""The producer: explain one image now, or submit a job of many."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from camfleet import cards, contract, jobs, keys, sources
from camfleet.answers import Answer
from camfleet.callbacks import check_callback
from camfleet.contract import (
    DEFAULT_OUTPUTS,
    CheckReply,
    CheckRequest,
    ExplainRequest,
    Fuse,
    Item,
    Method,
    Outputs,
)
from camfleet.errors import AnswerTimeout, InternalError, InvalidRequest, UnknownJob, from_code
from camfleet.expressions import parse_inputs, parse_layers, parse_target
from camfleet.jobs import Job
from camfleet.ledger import Ledger
from camfleet.messaging import broker_errors, close_app, make_app, sent_now
from camfleet.models import Models, Report
from camfleet.progress import Progress
from camfleet.settings import Settings
from camfleet.storage import Storage
from camfleet.submission import Submitter
from camfleet.wire import decode, encode

_NO_WORKER = (
    "no worker answers a ping: start one with `celery -A camfleet_worker worker` or `camfleet up`"
)


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
        return Models(self.storage, self._check_on_worker)

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
        image) are as in `camfleet.expressions`; `fuse` says
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
        return Answer(self._send(contract.EXPLAIN_TASK, encode(request)), self, request.image_uri)

    def submit(
        self,
        source: str | Iterable[str | Item],
        *,
        models: Sequence[str],
        target: str = "top",
        method: Method = "gradcam",
        layer: str = "auto",
        fuse: Fuse | None = None,
        outputs: Outputs = DEFAULT_OUTPUTS,
        job_id: str | None = None,
        keep_duplicates: bool = False,
        callback: str | None = None,
        on_progress: Callable[[int], None] = lambda _count: None,
    ) -> Job:
        """Write a job's manifest and record to storage, queue its chunks, and return the job.

        `source` is one source or several: images, folders, globs, `s3://bucket/prefix/`,
        manifest files (see `camfleet.sources`), or `Item`s. The source is streamed: memory stays
        flat. The same image with the same target and inputs is explained once, unless
        `keep_duplicates`. A `job_id` that exists is not submitted again: the job's `note` says
        so. `callback` is an http(s) URL that is told of the end. `on_progress` is told the number
        of images written so far.
        """
        order = self._order(models, target, method, layer, fuse, outputs, callback)
        self._ledger.ping()
        return self._submitter.submit(
            order,
            self._items([source] if isinstance(source, str) else source),
            job_id=job_id or jobs.new_id(),
            keep_duplicates=keep_duplicates,
            on_progress=on_progress,
        )

    def _order(
        self,
        models: Sequence[str],
        target: str,
        method: Method,
        layer: str,
        fuse: Fuse | None,
        outputs: Outputs,
        callback: str | None,
    ) -> dict[str, Any]:
        """Return the fields of a job's record that the caller chooses, checked."""
        refs = [self.models.find(name) for name in models]
        if not refs:
            raise InvalidRequest("a job needs at least one model")
        parse_layers(layer)
        self._check_target(target, [ref.digest for ref in refs])
        if callback is not None:
            check_callback(callback)
        return {
            "models": [encode(ref) for ref in refs],
            "target": target,
            "method": method,
            "layer": layer,
            "fuse": fuse,
            "outputs": encode(decode(encode(outputs), Outputs)),
            "callback": callback,
        }

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

    def wait_for(self, pending: Any, timeout: float, question: str) -> Any:
        """Return a task's raw answer; raise `AnswerTimeout` saying whether any worker lives."""
        from celery.exceptions import TimeoutError as CeleryTimeoutError

        with broker_errors(self.settings):
            try:
                return pending.get(timeout=timeout, interval=0.05)
            except CeleryTimeoutError as error:
                workers = self._app.control.ping(timeout=1)
                state = f"{len(workers)} worker(s) answer a ping" if workers else _NO_WORKER
                raise AnswerTimeout(
                    f"no answer for {question} within {timeout:g} s; {state}"
                ) from error
            except Exception as error:
                if type(error).__module__.startswith(("redis", "kombu")):
                    raise
                raise InternalError(
                    f"the worker failed on {question}: {type(error).__name__}: {error}"
                ) from error

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
    def _submitter(self) -> Submitter:
        return Submitter(self.settings, self._app, self.storage, self._ledger)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.settings)

    def _send(self, task: str, request: dict[str, Any]) -> Any:
        self._ledger.ping()
        with broker_errors(self.settings):
            return self._app.send_task(
                task,
                kwargs={"request": request},
                queue=contract.INTERACTIVE_QUEUE,
                headers=sent_now(),
            )

    def _check_on_worker(self, digest: str, timeout: float) -> Report:
        request = CheckRequest(digest=digest)
        pending = self._send(contract.CHECK_TASK, encode(request))
        reply = decode(self.wait_for(pending, timeout, "the model's check"), CheckReply)
        if reply.error:
            raise from_code(reply.error.code, reply.error.message)
        return reply.report or {}

    def _check_target(self, target: str, digests: list[str]) -> None:
        parsed = parse_target(target)
        for card in map(self.models.card, digests):
            if parsed.kind == "label":
                card.class_index(parsed.label)
            elif parsed.kind == "index" and card.label_list:
                card.check_index(parsed.index)

    def _items(self, each: Iterable[str | Item]) -> Iterable[Item]:
        for source in each:
            if isinstance(source, Item):
                yield source
            else:
                yield from sources.items(source, self.storage)


def _absolute(image_uri: str) -> str:
    return image_uri if "://" in image_uri else os.fspath(Path(image_uri).resolve())
