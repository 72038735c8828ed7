"""The producer's face on asyncio."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import cached_property, partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from camfleet.aio.answer import AsyncAnswer
from camfleet.aio.job import AsyncJob
from camfleet.aio.reporter import AsyncReporter
from camfleet.aio.reviews import AsyncReviews
from camfleet.aio.threads import Awaited, Threads, long, quick
from camfleet.broker.progress import Progress
from camfleet.client import Client
from camfleet.contract.checks import Check
from camfleet.interactive.answer import Answer
from camfleet.interactive.register import Models
from camfleet.jobs.forgotten import ForgottenJob
from camfleet.jobs.job import Job
from camfleet.jobs.stored import StoredJob
from camfleet.pictures.pictures import Pictures
from camfleet.registry.changes import ModelChange
from camfleet.settings import Settings

P = ParamSpec("P")

_JOBS = 20  # whose progress is read in one step
_CHANGES = 20  # of a model, likewise
_CHECKS = 1


def _explain(
    verb: Callable[Concatenate[Client, P], Answer],
) -> "Callable[Concatenate[AsyncClient, P], AsyncAnswer]":
    @wraps(verb)
    def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncAnswer:
        sent = self._threads.start(partial(verb, self._blocking, *args, **kwargs))
        return AsyncAnswer(sent, self._threads)

    return call


def _submit(
    verb: Callable[Concatenate[Client, P], Job],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncJob]]":
    in_thread = long(verb)

    @wraps(verb)
    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob:
        return AsyncJob(await in_thread(self, *args, **kwargs), self._threads)

    return call


class AsyncModels(Awaited):
    """The registry of models: the verbs of `Client.models`, awaited."""

    add = long(Models.add)
    list = long(Models.list)
    find = long(Models.find)
    aliases = long(Models.aliases)
    promote = long(Models.promote)
    rollback = long(Models.rollback)
    unalias = long(Models.unalias)
    remove = long(Models.remove)
    card = quick(Models.card)
    report = quick(Models.report)

    def history(self, model_id: str) -> AsyncIterator[ModelChange]:
        """Yield who changed an id's versions and aliases; see `Models.history`."""
        return self._threads.stream(self._blocking.history(model_id), _CHANGES)


class AsyncPictures(Awaited):
    """The pictures of jobs: the verbs of `Client.pictures`, awaited."""

    get = long(Pictures.get)
    render = long(Pictures.render)
    gallery = long(Pictures.gallery)
    save = long(Pictures.save)
    presign = quick(Pictures.presign)
    urls = quick(Pictures.urls)
    read = quick(Pictures.read)


class AsyncClient(Awaited):
    """`Client` for programs that run on asyncio: the same verbs with the same arguments, awaited.

    No verb blocks the event loop, and waiting for an answer takes no thread; what reads and
    writes runs on a few threads, where `on_progress` is called, too. Use it from any event loop,
    share it by tasks, and close it at the end. A `submit` or `dry_run` that is cancelled stops
    with the part of the manifest that it's at.
    """

    _blocking: Client

    def __init__(self, settings: Settings, *, threads: Threads | None = None) -> None:
        """Make a client; given `threads` are whoever made them's to close, and may be shared."""
        super().__init__(Client(settings), threads or Threads())
        self._owns_threads = threads is None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return a client for the CAMFLEET_ variables; raise `ConfigurationError`."""
        return cls(Settings.from_environ(environ))

    @property
    def settings(self) -> Settings:
        return self._blocking.settings

    @cached_property
    def models(self) -> AsyncModels:
        return AsyncModels(self._blocking.models, self._threads)

    @cached_property
    def pictures(self) -> AsyncPictures:
        return AsyncPictures(self._blocking.pictures, self._threads)

    @cached_property
    def reviews(self) -> AsyncReviews:
        return AsyncReviews(self._blocking.reviews, self._threads)

    def reviews_of(self, user: str) -> AsyncReviews:
        """Return the reviews for a user of a program: whose name their history shows."""
        return AsyncReviews(self._blocking.reviews_of(user), self._threads)

    explain = _explain(Client.explain)
    answer = quick(Client.answer)
    submit = _submit(Client.submit)
    dry_run = long(Client.dry_run)
    upload = long(Client.upload)
    delete = long(Client.delete)
    prune = long(Client.prune)
    export = long(Client.export)
    workers = quick(Client.workers)
    ping = quick(Client.ping)

    def checks(self) -> AsyncIterator[Check]:
        """Yield what store and Redis can do that camfleet relies on; see `Client.checks`."""
        return self._threads.stream(self._blocking.checks(), _CHECKS)

    def reporter(self, *, timeout: float = 60) -> AsyncReporter:
        """Return what makes reports on jobs; see `Client.reporter`."""
        return AsyncReporter(self._blocking.reporter(timeout=timeout), self._threads)

    def job(self, job_id: str) -> AsyncJob:
        """Return the handle of a job that was submitted earlier."""
        return AsyncJob(self._blocking.job(job_id), self._threads)

    def jobs(self) -> AsyncIterator[Progress]:
        """Yield the progress of every job that Redis knows, newest first."""
        return self._threads.stream(self._blocking.jobs(), _JOBS)

    def forgotten_jobs(
        self, on_progress: Callable[[int], object] = lambda _count: None
    ) -> AsyncIterator[ForgottenJob]:
        """Yield the jobs that the bucket holds and Redis has forgotten, by their ids."""
        return self._threads.stream(self._blocking.forgotten_jobs(on_progress), _JOBS)

    async def resume(self, job_id: str, *, cancelled: bool = False) -> AsyncJob:
        """Run what a job still lacks; see `Client.resume`."""
        again = partial(self._blocking.resume, job_id, cancelled=cancelled)
        return AsyncJob(await self._threads.long(again), self._threads)

    def resume_stored(
        self,
        *,
        dry_run: bool = False,
        of_fleet: str | None = None,
        on_progress: Callable[[int], object] = lambda _count: None,
    ) -> AsyncIterator[StoredJob]:
        """Resume all jobs that Redis has forgotten, and yield them; see `Client.resume_stored`."""
        found = self._blocking.resume_stored(
            dry_run=dry_run, of_fleet=of_fleet, on_progress=on_progress
        )
        return self._threads.stream(found, 1)

    async def retry(self, job_id: str, codes: tuple[str, ...] = ()) -> tuple[AsyncJob, int]:
        """Run a complete job's failed images again; see `Client.retry`."""
        job, images = await self._threads.long(lambda: self._blocking.retry(job_id, codes))
        return AsyncJob(job, self._threads), images

    async def close(self) -> None:
        """Close all connections; whoever still waits is told."""
        await self._threads.long(self._blocking.close)
        if self._owns_threads:
            self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
