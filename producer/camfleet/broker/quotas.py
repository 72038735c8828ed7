"""What tokens of gateways have in work, and upload: counted in Redis, by all gateways."""

from typing import NamedTuple
from uuid import uuid4

from camfleet.broker import gateway_keys, keys
from camfleet.broker.redis import Redis
from camfleet.settings import Settings

_UNSENT_SECONDS = 600  # that a request counts before it's sent, however its gateway ends
_UNMADE_SECONDS = 120.0  # that a job counts which nobody goes on submitting
_ANY = 2**31


class Reserved(NamedTuple):
    """How many images a job may have, or why none: what its token's other jobs are."""

    images: int = 0
    other_jobs: int | None = None  # as many as may be
    other_images: int | None = None


class Quotas:
    """Requests, jobs and bytes by token. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._redis = Redis(settings)
        self._answer_seconds = settings.answer_expires
        self._job_seconds = settings.job_expires
        self._ask = self._redis.script("quota_ask")
        self._submit = self._redis.script("quota_submit")
        self._upload = self._redis.script("quota_upload")

    def ask(self, token_id: str, most: int) -> str | None:
        """Count a request in and return its place; None where `most` are in work."""
        place = str(uuid4())
        return place if self._count(token_id, place, most, _UNSENT_SECONDS) else None

    def sent(self, token_id: str, place: str, answer_id: str) -> None:
        """Let a request count until its answer is there, as long as that would be kept."""
        self._count(token_id, answer_id, _ANY, self._answer_seconds, instead_of=place)

    def leave(self, token_id: str, place: str) -> None:
        """Count a request no longer."""
        self._redis.run("ZREM", gateway_keys.quota_requests(token_id), place)

    def reserve(
        self,
        token_id: str,
        job_id: str,
        images: int,
        most: tuple[int, int],
        *,
        once: bool,
    ) -> Reserved:
        """Reserve so many images in all for a job; fewer where its token's jobs leave fewer.

        `most` are jobs and images. With `once` a job that was made already needs none.
        """
        args = [
            job_id,
            images,
            *most,
            self._redis.full(keys.job("%")),
            _UNMADE_SECONDS,
            self._job_seconds,
        ]
        verdict, count = self._submit([gateway_keys.quota_jobs(token_id)], [*args, int(once)])
        if verdict == 0:
            return Reserved(other_jobs=count)
        return Reserved(images=count) if verdict > 0 else Reserved(other_images=count)

    def give_back(self, token_id: str, job_id: str) -> None:
        """Count a job no longer that wasn't made."""
        if not self._redis.run("EXISTS", keys.job(job_id)):
            self._redis.run("HDEL", gateway_keys.quota_jobs(token_id), job_id)

    def upload(self, token_id: str, nbytes: int, most: int) -> int:
        """Count bytes that are uploaded, and return 0; where they'd exceed `most`, count nothing.

        Then return after how many seconds they wouldn't, unless others are uploaded by then.
        """
        seconds: int = self._upload([gateway_keys.quota_bytes(token_id)], [nbytes, most])
        return seconds

    def _count(
        self, token_id: str, place: str, most: int, seconds: int, instead_of: str = ""
    ) -> bool:
        args = [place, most, seconds, self._redis.full(keys.answer("%")), instead_of]
        return bool(self._ask([gateway_keys.quota_requests(token_id)], args))

    def close(self) -> None:
        self._redis.close()
