"""A program that prints what is read of a selection: its head, then its tasks, some on a line.

Decoding a large body stops all other threads of its process, for minutes if somebody is out for
that, and so it has a process of its own: `python -m camfleet.gateway.label_studio.reduced FILE`.
"""

import resource
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest
from camfleet.exports.label_config import parse_config
from camfleet.gateway.label_studio.words import MOST_CONFIG, Selection, Task

MOST_TASKS = 250_000
ON_A_LINE = 1000  # tasks
WRONG, TOO_MUCH = 3, 4  # exit codes
_MEMORY = 2**31  # bytes of address space
_CPU_SECONDS = 30


class _Task(Struct):
    id: int | None = None
    data: dict[str, Raw] = {}


class _Body(Struct):
    tasks: list[_Task] = []
    project: str | int = ""
    label_config: str = ""


def main(path: str) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    try:
        body = msgspec.json.decode(Path(path).read_bytes(), type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        sys.stderr.write(str(error))
        return WRONG
    except MemoryError:
        return TOO_MUCH
    if len(body.tasks) > MOST_TASKS:
        return TOO_MUCH
    config = body.label_config[: MOST_CONFIG + 1]
    key = ""
    with suppress(InvalidRequest):  # the gateway says what is wrong
        key = parse_config(config).key if len(config) <= MOST_CONFIG else ""
    write, tasks = sys.stdout.buffer.write, iter(body.tasks)
    write(msgspec.json.encode(Selection(project=body.project, label_config=config)) + b"\n")
    while some := [_reduced(task, key) for task in islice(tasks, ON_A_LINE)]:
        write(msgspec.json.encode(some) + b"\n")
    return 0


def _reduced(task: _Task, key: str) -> Task:
    if key not in task.data:
        return Task(id=task.id)
    value = None  # what is no text names no image
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        value = msgspec.json.decode(task.data[key], type=str)[: LONGEST + 1]
    return Task(id=task.id, data={key: value})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
