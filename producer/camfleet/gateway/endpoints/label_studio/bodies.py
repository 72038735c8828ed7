"""Selections as they arrive: small ones are decoded at once, others by a process of their own."""

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec

from camfleet.errors import InvalidRequest
from camfleet.gateway.access.turns import Turns
from camfleet.gateway.calls import JSON_SECONDS, Call
from camfleet.gateway.label_studio import reduced, words
from camfleet.gateway.problems import Problem
from camfleet.temporary import temporary_folder

SELECTION_BYTES = 2**28  # 250,000 tasks; those with masks are larger
SMALL_BYTES = 2**18
_SECONDS = 60.0  # that decoding may take
_TASKS = msgspec.json.Decoder(list[words.Task])


async def read(call: Call, turns: Turns) -> words.Selection:
    """Return the selection that a body is; raise `InvalidRequest`, or a `Problem`."""
    if call.media_type != "application/json" or call.is_said_small(SMALL_BYTES):
        return await call.json(words.Selection, SMALL_BYTES)
    with temporary_folder() as folder:
        path = folder / "selection"
        async with call.services.admission.request(call.whose):
            await _receive(call, path)
        async with turns.turn():
            return await call.services.threads.long(lambda: _decoded(path))


async def _receive(call: Call, path: Path) -> None:
    try:
        async with asyncio.timeout(JSON_SECONDS):
            with path.open("wb") as file:  # pieces are small
                async for piece in call.pieces(SELECTION_BYTES):
                    file.write(piece)
    except TimeoutError:
        raise Problem(408, "body_too_slow", "the body didn't arrive in time") from None


def _decoded(path: Path) -> words.Selection:
    command = [sys.executable, "-P", "-m", reduced.__name__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise _too_much() from None
    if done.returncode == reduced.WRONG:
        raise InvalidRequest(f"the body: {done.stderr.decode(errors='replace').strip()[:500]}")
    if done.returncode:
        raise _too_much()
    head, *lines = done.stdout.splitlines()
    found = msgspec.json.decode(head, type=words.Selection)
    for line in lines:  # other threads get their turn between them
        found.tasks += _TASKS.decode(line)
    return found


def _too_much() -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"the selection has more than {reduced.MOST_TASKS} tasks, or takes too long to read: "
        "select fewer",
    )
