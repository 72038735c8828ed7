"""Every key in Redis. `TABLE` says what each holds and how long it lives.

No other module spells a key, but `gateway_keys`. Losing all of them loses no results:
`camfleet resume` rebuilds a job's keys from object storage.
"""

from camfleet.broker import gateway_keys
from camfleet.broker.expiry import Expiry, Key
from camfleet.contract.lanes import BULK_QUEUE, FIRST_QUEUE, KINDS, queues_of
from camfleet.contract.outputs import DEFAULT_PRECISION

_JOB = "camfleet:job:{%s}"  # in braces: on a cluster all keys of a job lie on one node
_CLAIM = "camfleet:claim:%s"
_WORKER = "camfleet:worker:%s"
_ABOUT = "camfleet:about:%s"
_ALIVE = "camfleet:alive:%s"

JOBS = "camfleet:jobs"
TURNS = "camfleet:turns"
TAKES_FIRST = "camfleet:takes-first"
CALLBACKS = "camfleet:callbacks"
FOLLOW_UPS = "camfleet:follow-ups"
ERRANDS = "camfleet:errands"
SCHEDULES = "camfleet:schedules"
SCHEDULES_IN_WORK = "camfleet:schedules:in-work"
SCHEDULES_CLOCK = "camfleet:schedules:clock"
SCHEDULER = "camfleet:scheduler"
REVIEWS = "camfleet:reviews"
LEASES = "camfleet:leases"
HISTORY = "camfleet:history"
HISTORIAN = "camfleet:historian"
SIGNER = "camfleet:signer"
REAPER = "camfleet:reaper"
SWEEPER = "camfleet:sweeper"
PING = "camfleet:ping"
REQUESTS = "camfleet:requests"
HELD_REQUESTS = "camfleet:requests:held"
RESCUER = "camfleet:rescuer"
BULK_QUEUES = queues_of(BULK_QUEUE)
FIRST_QUEUES = queues_of(FIRST_QUEUE)
QUEUES = tuple(queue for lane in zip(*map(queues_of, KINDS), strict=True) for queue in lane)


def takes_first(precision: str) -> str:
    """Return the sign that a worker lives which takes first chunks in a precision."""
    return TAKES_FIRST if precision == DEFAULT_PRECISION else f"{TAKES_FIRST}:{precision}"


def job(job_id: str) -> str:
    return _JOB % job_id


def done(job_id: str) -> str:
    return f"{job(job_id)}:done"


def events(job_id: str) -> str:
    return f"{job(job_id)}:events"


def working(job_id: str) -> str:
    return f"{job(job_id)}:working"


def codes(job_id: str) -> str:
    return f"{job(job_id)}:codes"


def attempts(job_id: str) -> str:
    return f"{job(job_id)}:attempts"


def of_job(job_id: str) -> list[str]:
    """Return the keys that the ledger keeps for a job, in the order that commit.lua expects."""
    return [make(job_id) for make in (job, done, events, working, codes)]


def claim(job_id: str) -> str:
    return _CLAIM % job_id


def worker(name: str) -> str:
    return _WORKER % name


def about(name: str) -> str:
    return _ABOUT % name


def answer(request_id: str) -> str:
    return f"celery-task-meta-{request_id}"


def alive(owner: str) -> str:
    return _ALIVE % owner


_AT_END = "expires CAMFLEET_JOB_EXPIRES after the job ended or was cancelled; a retry persists it"
_BINDINGS = "the queues of an exchange"

TABLE = (
    # a job, as the ledger sees it
    Key(
        JOBS,
        "zset",
        "ledger",
        Expiry.NEVER,
        "job ids by time of creation; the sweeper drops expired ones",
    ),
    Key(job("*"), "hash", "ledger", Expiry.AT_END, f"totals, times and flags; {_AT_END}"),
    Key(done("*"), "string", "ledger", Expiry.AT_END, f"bitmap of the counted chunks; {_AT_END}"),
    Key(events("*"), "stream", "ledger", Expiry.AT_END, f"about the latest 10,000; {_AT_END}"),
    Key(codes("*"), "hash", "ledger", Expiry.AT_END, f"failures by error code; {_AT_END}"),
    Key(
        working("*"),
        "hash",
        "ledger",
        Expiry.ALWAYS,
        "images explained, by chunk not counted yet; expires CAMFLEET_JOB_EXPIRES after the "
        "last note. A retry persists what a dead worker left in it, until the next note",
    ),
    Key(
        claim("*"),
        "string",
        "claims",
        Expiry.ALWAYS,
        "expires after 60 s, renewed while a producer works on the job",
    ),
    # whose chunks are sent next
    Key(
        TURNS,
        "zset",
        "dispatch",
        Expiry.NEVER,
        "jobs of which chunks are still to be sent, by whose turn it is",
    ),
    Key(
        TAKES_FIRST,
        "string",
        "heartbeats",
        Expiry.ALWAYS,
        "expires after 15 s; there as long as a worker lives that takes first chunks",
    ),
    Key(
        takes_first("*"),
        "string",
        "heartbeats",
        Expiry.ALWAYS,
        "the same, of first chunks that are computed in another precision than float32",
    ),
    # chunks in work
    Key(LEASES, "zset", "leases", Expiry.NEVER, "chunks by the time their lease runs out"),
    Key(
        attempts("*"),
        "hash",
        "leases",
        Expiry.ALWAYS,
        "owner of the lease, attempts, image in work, deaths and killers, by chunk that isn't "
        "counted; expires CAMFLEET_JOB_EXPIRES after the last attempt, deleted when a retry begins",
    ),
    Key(
        REAPER,
        "string",
        "leases",
        Expiry.ALWAYS,
        "expires after half a lease; whoever sets it reaps",
    ),
    Key(SWEEPER, "string", "leases", Expiry.ALWAYS, "expires in half a lease; its setter sweeps"),
    Key(PING, "string", "ledger", Expiry.ALWAYS, "written to see whether Redis takes writes"),
    # whether a failover has lost writes
    Key(
        HISTORY,
        "hash",
        "history",
        Expiry.NEVER,
        "Redis' replication id when a worker looked last, when that was, and the fleet's own id",
    ),
    Key(
        HISTORIAN,
        "string",
        "history",
        Expiry.ALWAYS,
        "expires after a minute; whoever sets it brings back what was lost",
    ),
    Key(SIGNER, "string", "history", Expiry.ALWAYS, "expires in ten minutes; its setter signs"),
    # interactive requests in work
    Key(REQUESTS, "zset", "requests", Expiry.NEVER, "requests by the time their lease runs out"),
    Key(HELD_REQUESTS, "hash", "requests", Expiry.NEVER, "the same requests' messages, by id"),
    Key(
        RESCUER,
        "string",
        "requests",
        Expiry.ALWAYS,
        "expires after some seconds; whoever sets it looks for requests of dead workers",
    ),
    *gateway_keys.TABLE,
    # what follows a job's end
    Key(
        CALLBACKS,
        "zset",
        "callbacks_due",
        Expiry.NEVER,
        "job ids by the time their callback is due; the ledger adds them, a sender removes them",
    ),
    Key(
        FOLLOW_UPS,
        "zset",
        "follow_ups_due",
        Expiry.NEVER,
        "job ids by the time what follows their end is due; the ledger adds them, a worker "
        "removes them",
    ),
    Key(ERRANDS, "zset", "errands_due", Expiry.NEVER, "JOB/ERRAND by the time they're due"),
    # schedules
    Key(SCHEDULES, "zset", "schedules_due", Expiry.NEVER, "names by the time they're due next"),
    Key(
        SCHEDULES_IN_WORK,
        "hash",
        "schedules_due",
        Expiry.NEVER,
        "the time for which each is being done, and the attempts at it",
    ),
    Key(
        SCHEDULES_CLOCK,
        "string",
        "schedules_due",
        Expiry.NEVER,
        "what Redis' clock said last, so that it's noticed when it was set back",
    ),
    Key(
        SCHEDULER,
        "string",
        "schedules_due",
        Expiry.ALWAYS,
        "expires after a minute; whoever sets it enters schedules that Redis has forgotten",
    ),
    Key(
        REVIEWS,
        "hash",
        "reviews",
        Expiry.NEVER,
        "the latest verdict of each, by name; what the bucket has too",
    ),
    # workers
    Key(
        worker("*"),
        "string",
        "heartbeats",
        Expiry.ALWAYS,
        "JSON that 0.1.0 reads too; expires after 15 s",
    ),
    Key(
        about("*"),
        "string",
        "heartbeats",
        Expiry.ALWAYS,
        "JSON, what came after 0.1.0; expires after 15 s",
    ),
    Key(
        alive("*"),
        "string",
        "heartbeats",
        Expiry.ALWAYS,
        "by process rather than by name: expires after 15 s",
    ),
    # messages and answers belong to kombu and Celery; `backlog` reads the queues
    *(Key(name, "list", "kombu", Expiry.NEVER, "waiting messages") for name in QUEUES),
    Key("unacked", "hash", "kombu", Expiry.NEVER, "messages that workers hold"),
    Key("unacked_index", "zset", "kombu", Expiry.NEVER, "the same, by time of delivery"),
    Key(
        "unacked_mutex",
        "string",
        "kombu",
        Expiry.ALWAYS,
        "held by the worker that restores unacknowledged messages",
    ),
    Key("_kombu.binding.*", "set", "kombu", Expiry.NEVER, _BINDINGS),
    Key("_kombu.binding_permanent.*", "set", "kombu", Expiry.NEVER, _BINDINGS),
    Key("_kombu.binding_deadlines", "zset", "kombu", Expiry.NEVER, _BINDINGS),
    Key("*.reply.celery.pidbox", "list", "kombu", Expiry.NEVER, "answers to a ping, until read"),
    Key(
        "celery-task-meta-*",
        "string",
        "celery",
        Expiry.ALWAYS,
        "answer to an interactive request; expires after CAMFLEET_ANSWER_EXPIRES",
    ),
)

_EXCHANGES = (*QUEUES, "celery.pidbox", "reply.celery.pidbox")
_PRIORITIES = (3, 6, 9)  # of which kombu asks lists of their own
FIXED: dict[str, str] = {  # the types of all keys that aren't one job's, worker's or answer's
    **{row.pattern: row.type for row in TABLE if "*" not in row.pattern},
    **{f"{queue}\x06\x16{number}": "list" for queue in QUEUES for number in _PRIORITIES},
    **{f"_kombu.binding.{name}": "set" for name in _EXCHANGES},
    **{f"_kombu.binding_permanent.{name}": "set" for name in _EXCHANGES},
}
