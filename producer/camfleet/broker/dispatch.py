"""Which chunks are put into the queues, and when: a few of each job, in turn, by priority.

The queues hold only some messages for the workers that will be free next. Whoever takes one puts
the next one in, so a job's size says nothing of how long others wait, and Redis holds no more of a
large job than of a small one. One sorted set has the jobs of which chunks are still to be sent, by
whose turn it is; `dispatch.lua` says how. Chunks that only some workers can compute have queues and
room of their own, so that the others never wait behind them. Losing the set, or messages, loses
nothing: a job that nothing is heard of is entered again.
"""

import json
from collections.abc import Callable
from typing import Any

from camfleet.broker import keys
from camfleet.broker.redis import Redis
from camfleet.contract.lanes import LANES
from camfleet.contract.messages import CHUNK_TASK, FIRST_TASK, SENT_HEADER
from camfleet.contract.records import JobRecord

_PAGE = 1000  # messages that Redis looks at in one go: some milliseconds
_SUSPECTS = 100  # jobs whose messages are looked for at a time
_EMBED = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
_BODY = json.dumps([[], {"ref": "@REF@"}, _EMBED]).replace('"@REF@"', "@REF@")


class Dispatch:
    """Fills the queues of chunks, and finds jobs whose chunks got lost."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._words = _words(redis.full)
        self._dispatch = redis.script("dispatch")
        self._stalled = redis.script("stalled")
        self._queued = redis.script("queued")

    def enter(self, pipe: Any, job: JobRecord) -> None:
        """Let a job's chunks that aren't counted be sent from now on, once the pipeline runs."""
        words = [job.job_id, job.parts, job.lane.number, job.priority]
        self._dispatch.queue(pipe, _KEYS, [*self._words, *words])

    def fill(self) -> int:
        """Put the chunks into the queues whose turn it is; return how many."""
        sent: int = self._dispatch(_KEYS, self._words)
        return sent

    def stalled(self, seconds: float) -> list[str]:
        """Return the jobs that have chunks to run, but no turn, message or lease of any.

        No message of theirs waits, no worker holds one of their chunks, none was counted within
        `seconds`, and no producer is at it. Other jobs' messages don't matter.
        """
        found: list[str] = self._stalled(
            [keys.JOBS, keys.LEASES, keys.TURNS],
            [seconds, *map(self._redis.full, (keys.job("%"), keys.claim("%")))],
        )
        quiet = found[:_SUSPECTS]
        for queue in (*keys.FIRST_QUEUES, *keys.BULK_QUEUES):
            quiet = self._without_messages(quiet, queue)
        return quiet

    def _without_messages(self, job_ids: list[str], queue: str) -> list[str]:
        """Return those of the jobs that have no message in a queue, read a page at a time."""
        left, first, read = list(job_ids), 0, _PAGE
        while left and read == _PAGE:
            read, found = self._queued([queue], [first, first + _PAGE - 1, *left])
            left = [job_id for job_id in left if job_id not in found]
            first += read
        return left


def _words(full: Callable[[str], str]) -> list[str]:
    """Return what dispatch.lua is told besides keys; `full` makes a key as Redis has it."""
    return [
        *map(full, (keys.job("%"), keys.done("%"))),
        *(_message(FIRST_TASK), _message(CHUNK_TASK), _BODY),
        str(len(full("").encode())),
    ]


def _message(task: str) -> str:
    """Return a message as kombu writes it, with the names of what dispatch.lua fills in."""
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": "@ID@",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "@ID@",
        "parent_id": None,
        "argsrepr": "",
        "kwargsrepr": "",
        "origin": "camfleet",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
        SENT_HEADER: "@SENT@",
    }
    properties = {
        "correlation_id": "@ID@",
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "@QUEUE@"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": "@TAG@",
    }
    whole = {
        "body": "@BODY@",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(whole).replace('"@SENT@"', "@SENT@")  # a number


_KEYS = [
    keys.TURNS,
    keys.LEASES,
    *(keys.takes_first(lane.precision) for lane in LANES),
    *keys.FIRST_QUEUES,
    *keys.BULK_QUEUES,
]
