"""Jobs that are to be deleted: what is still to come of them, and how Redis forgets them."""

from contextlib import suppress

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.codec import decode_json
from camfleet.contract.records import ChunkRef
from camfleet.errors import InvalidRequest


def pending(redis: Redis, job_id: str) -> str | None:
    """Return what is still to come of a job that has ended, in words, or None."""
    for member in redis.run("ZRANGE", keys.LEASES, 0, -1):
        with suppress(InvalidRequest):
            if decode_json(member.encode(), ChunkRef).job_id == job_id:
                return "a worker has one of its chunks in work"
    if redis.run("ZSCORE", keys.FOLLOW_UPS, job_id) is not None:
        return "what follows its end, its report or study, isn't done"
    if redis.run("ZSCORE", keys.CALLBACKS, job_id) is not None:
        return "its callback hasn't been sent"
    return None


def forget(redis: Redis, job_id: str) -> None:
    """Forget a job, and what would have followed its end, in one step."""
    with redis.pipeline() as pipe:
        for due in (keys.FOLLOW_UPS, keys.CALLBACKS, keys.TURNS, keys.JOBS):
            pipe.zrem(due, job_id)
        pipe.delete(*keys.of_job(job_id), keys.attempts(job_id))
        pipe.execute()
