"""The hash that the ledger keeps of a job: its first fields, and those of what follows its end."""

from collections.abc import Mapping, Sequence

import msgspec

from camfleet.contract.codec import decode_json
from camfleet.contract.follow_ups import KINDS, FollowedUp, FollowUp
from camfleet.contract.records import JobRecord
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest
from camfleet.jobstore.totals import Totals

_FOLLOWED = "followed"  # the field that says that all has been done
_WAITING = FollowUp(state="waiting")
_DROPPED = FollowUp(state="dropped", note="the job was cancelled")


def attempts_field(kind: str) -> str:
    """Return the field that counts the attempts at something that follows a job's end."""
    return f"{kind}_attempts"


# The fields of what has followed the end of a job: without them it's to be done.
NOT_FOLLOWED = (_FOLLOWED, *KINDS, *map(attempts_field, KINDS))


def entry(
    job: JobRecord, retry: int, held: Totals, chunks_done: int, followed: FollowedUp | None
) -> dict[str, str | float]:
    """Return the fields of a job of which so much is done."""
    return {
        "total": job.images,
        "chunks": job.chunks,
        **{str(status): held.statuses[status] for status in Status},
        "chunks_done": chunks_done,
        "before": held.images,
        "created_at": job.created_at,
        "retry": retry,
        "calls_back": int(job.callback is not None),
        "follows_up": " ".join(job.follow_ups.kinds) if job.follow_ups else "",
        "models": " ".join(job.model_names),
        **({"owner": job.owner} if job.owner is not None else {}),
        **(followed_fields(followed) if followed else {}),
    }


def bits(numbers: Sequence[int]) -> bytes:
    """Return the bitmap, as SETBIT makes it, of numbers that ascend."""
    made = bytearray(numbers[-1] // 8 + 1 if numbers else 0)
    for number in numbers:
        made[number // 8] |= 0x80 >> number % 8
    return bytes(made)


def followed_fields(followed: FollowedUp) -> dict[str, str]:
    """Return the fields of a job of which all has been done that follows its end."""
    found = {kind: getattr(followed, kind) for kind in KINDS}
    return {_FOLLOWED: "1", **{kind: as_text(one) for kind, one in found.items() if one}}


def as_text(follow_up: FollowUp) -> str:
    return msgspec.json.encode(follow_up).decode()


def follow_up(row: Mapping[str, str], kind: str) -> FollowUp | None:
    """Return how far something is, None where it wasn't asked for.

    Raises `ValueError` for what camfleet can't have written.
    """
    if kind not in row.get("follows_up", "").split():
        return None
    if "cancelled_at" in row:
        return _DROPPED
    try:
        return decode_json(row[kind].encode(), FollowUp) if kind in row else _WAITING
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
