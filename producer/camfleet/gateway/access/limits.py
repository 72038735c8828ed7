"""What a token may have in work, and upload; what is too much is told, and when to come back."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from camfleet.aio.threads import Threads
from camfleet.broker.quotas import Quotas
from camfleet.contract.tokens import Limits, TokenRecord
from camfleet.gateway.problems import Problem

_STEP = 10_000  # images that are reserved at a time, of a source that is still being read
_ERRANDS = 100  # within ten minutes
_URLS = 1000  # for uploads, within ten minutes
TOO_MANY_ERRANDS = (
    f"this token has asked for {_ERRANDS} reports, comparisons, exports and indexes within ten "
    "minutes: wait a while"
)
_SOON = {"Retry-After": "1"}
_LATER = {"Retry-After": "30"}


class Place:
    """A request's place among those of its token that are in work."""

    def __init__(self, quotas: Quotas, token_id: str, place: str) -> None:
        self._quotas = quotas
        self._token_id = token_id
        self._place = place
        self.is_sent = False

    def sent(self, answer_id: str) -> None:
        """Keep the place until the answer is there."""
        self._quotas.sent(self._token_id, self._place, answer_id)
        self.is_sent = True

    def leave(self) -> None:
        self._quotas.leave(self._token_id, self._place)


class Admission:
    """Requests and jobs are let in as long as their token hasn't too many."""

    def __init__(self, quotas: Quotas, threads: Threads, limits: Limits) -> None:
        self._quotas = quotas
        self._threads = threads
        self._limits = limits  # of tokens that have none of their own

    @asynccontextmanager
    async def request(self, token: TokenRecord) -> AsyncIterator[Place]:
        """Let a request in for a block, or until its answer is there; raise a `Problem`."""
        most = token.limits.within(self._limits).requests or 0
        taken = await self._threads.quick(lambda: self._quotas.ask(token.id, most))
        if taken is None:
            raise Problem(
                429,
                "too_many_requests",
                f"{most} requests of this token are in work, as many as may be: wait for one",
                _SOON,
            )
        place = Place(self._quotas, token.id, taken)
        try:
            yield place
        finally:
            if not place.is_sent:
                await self._threads.quick(place.leave)

    async def errand(self, token: TokenRecord) -> None:
        """Let something in that a worker makes of a job that has ended; raise a `Problem`."""
        if not await self._threads.quick(lambda: self.counts_errand(token)):
            raise Problem(429, "too_many_errands", TOO_MANY_ERRANDS, _LATER)

    def counts_errand(self, token: TokenRecord) -> bool:
        """Return whether a token may ask for another errand, from a thread; then it's counted."""
        name = f"{token.id}:errands"  # a count of its own; each counts for ten minutes
        return self._quotas.ask(name, _ERRANDS) is not None

    async def url(self, token: TokenRecord) -> None:
        """Let somebody have a URL for an upload, which nobody sees happen; raise a `Problem`."""
        name = f"{token.id}:urls"  # likewise
        if await self._threads.quick(lambda: self._quotas.ask(name, _URLS)) is None:
            raise Problem(
                429,
                "too_many_urls",
                f"this token has asked for {_URLS} URLs for uploads within ten minutes: wait a "
                "while, or send files as the body",
                _LATER,
            )

    async def upload(self, token: TokenRecord, nbytes: int) -> None:
        """Let bytes of an upload in, which count from now on, whatever becomes of it.

        Raises a `Problem`.
        """
        most = token.limits.within(self._limits).bytes or 0
        may = f"this token may upload {most} bytes within 24 hours"
        if nbytes > most:
            raise Problem(413, "body_too_large", f"{may}, and this has {nbytes}")
        wait = await self._threads.quick(lambda: self._quotas.upload(token.id, nbytes, most))
        if wait:
            raise Problem(
                429,
                "too_many_bytes",
                f"{may}, and with these {nbytes} it would have more: wait",
                {"Retry-After": str(wait)},
            )

    @asynccontextmanager
    async def job(
        self, token: TokenRecord, job_id: str, *, once: bool = False
    ) -> AsyncIterator["JobAdmission"]:
        """Let a job in for a block that makes it; raise a `Problem`.

        What is reserved for one that isn't made is given back. With `once` a job that was made
        already is let in.
        """
        limits = token.limits.within(self._limits)
        admission = JobAdmission(self._quotas, token.id, job_id, limits)
        await self._threads.quick(lambda: admission.reserve(0, once=once))
        try:
            yield admission
        except BaseException:
            await self._threads.quick(lambda: self._quotas.give_back(token.id, job_id))
            raise


class JobAdmission:
    """One job that is being let in, image by image."""

    def __init__(self, quotas: Quotas, token_id: str, job_id: str, limits: Limits) -> None:
        self._quotas = quotas
        self._token_id = token_id
        self._job_id = job_id
        self._most = limits.jobs or 0, limits.images or 0
        self._images = 0
        self._reserved = 0

    def counting(self, check: Callable[[str], None], models: int) -> Callable[[str], None]:
        """Return a check of each image's URI that lets no more in than may be."""

        def count(uri: str) -> None:
            check(uri)
            self._images += models
            if self._images > self._reserved:
                self.reserve(self._images + _STEP)

        return count

    def reserve(self, images: int, *, once: bool = False) -> None:
        """Reserve images for the job, so many in all or fewer; raise a `Problem` for too few."""
        _, most_images = self._most
        found = self._quotas.reserve(self._token_id, self._job_id, images, self._most, once=once)
        if found.other_jobs is not None:
            raise Problem(
                429,
                "too_many_jobs",
                f"{found.other_jobs} jobs of this token haven't ended, as many as may be: wait for "
                "one, or cancel it",
                _LATER,
            )
        self._reserved = found.images
        if self._reserved >= self._images:
            return
        if self._images > most_images:
            raise Problem(
                422,
                "job_too_large",
                f"the job has more than {most_images} images (times models), as many as this "
                "token's jobs may have in all: submit it in parts",
            )
        raise Problem(
            429,
            "too_many_images",
            f"the jobs of this token may have {most_images} images (times models) to explain, and "
            "with this one they'd have more: wait until they have fewer",
            _LATER,
        )
