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
from camfleet.exports.image_value import looked_up, top
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
    names: tuple[str, ...] = ()
    with suppress(InvalidRequest):  # the gateway says what is wrong
        names = parse_config(config).value.names if len(config) <= MOST_CONFIG else ()
    write, tasks = sys.stdout.buffer.write, iter(body.tasks)
    write(msgspec.json.encode(Selection(project=body.project, label_config=config)) + b"\n")
    while some := [_reduced(task, names) for task in islice(tasks, ON_A_LINE)]:
        write(msgspec.json.encode(some) + b"\n")
    return 0


def _reduced(task: _Task, names: tuple[str, ...]) -> Task:
    """Return a task with what its image needs, each by its whole name, wherever it lay."""
    data = {}
    for name in names:
        with suppress(LookupError):
            data[name] = _found(task.data, name)
    return Task(id=task.id, data=data)


def _found(data: dict[str, Raw], name: str) -> str | int | None:
    """Return what a name means; None: what is neither a text nor a number names no image.

    Raises `LookupError` where it means nothing.
    """
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if name in data:
            value = msgspec.json.decode(data[name], type=str | int)
        else:
            key = top(name)
            value = looked_up({key: msgspec.json.decode(data[key])}, name)
        if isinstance(value, str | int):
            return value[: LONGEST + 1] if isinstance(value, str) else value
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
