"""The keys in Redis that only HTTP gateways use; `TABLE` is a part of that in `keys`."""

from camfleet.broker.expiry import Expiry, Key

_ANSWER_OWNER = "camfleet:answer-owner:%s"
_SESSION = "camfleet:session:%s"
_SESSIONS = "camfleet:sessions:%s"
_QUOTA_REQUESTS = "camfleet:quota:%s:requests"
_QUOTA_JOBS = "camfleet:quota:%s:jobs"
_QUOTA_BYTES = "camfleet:quota:%s:bytes"


def answer_owner(request_id: str) -> str:
    return _ANSWER_OWNER % request_id


def session(digest: str) -> str:
    return _SESSION % digest


def sessions(token_id: str) -> str:
    return _SESSIONS % token_id


def quota_requests(token_id: str) -> str:
    return _QUOTA_REQUESTS % token_id


def quota_jobs(token_id: str) -> str:
    return _QUOTA_JOBS % token_id


def quota_bytes(token_id: str) -> str:
    return _QUOTA_BYTES % token_id


TABLE = (
    Key(
        answer_owner("*"),
        "string",
        "answers",
        Expiry.ALWAYS,
        "who asked a gateway for an answer; expires after CAMFLEET_ANSWER_EXPIRES",
    ),
    Key(
        session("*"),
        "string",
        "sessions",
        Expiry.ALWAYS,
        "the id of the token with which a browser signed in, by the digest of its cookie; expires "
        "after 12 h, or with the token",
    ),
    Key(
        sessions("*"),
        "zset",
        "sessions",
        Expiry.ALWAYS,
        "digests of a token's sessions, by the time at which each began; expires with the last",
    ),
    Key(
        quota_requests("*"),
        "zset",
        "quotas",
        Expiry.ALWAYS,
        "interactive requests of a gateway's token, by the time at which they count no longer; "
        "expires with the last",
    ),
    Key(
        quota_jobs("*"),
        "hash",
        "quotas",
        Expiry.ALWAYS,
        "jobs of a gateway's token with the images reserved for each, and when; expires "
        "CAMFLEET_JOB_EXPIRES after the last",
    ),
    Key(
        quota_bytes("*"),
        "hash",
        "quotas",
        Expiry.ALWAYS,
        "bytes that a gateway's token has uploaded, by hours since the epoch; expires 25 h after "
        "the last",
    ),
)
