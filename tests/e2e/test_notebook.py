"""Both clients in a notebook: cells of a real kernel, where an event loop is always running."""

from contextlib import contextmanager

import pytest

manager = pytest.importorskip("jupyter_client.manager")

BLOCKING = """
from camfleet import Client
client = Client.from_environ()
(result,) = client.explain({image!r}, model="patches").result(timeout=30)
job = client.submit([{image!r}], models="patches")
print(result.status, job.wait(timeout=180).ok, [row.status for row in job.results()])
"""
AWAITED = """
from camfleet import AsyncClient
awaited = AsyncClient.from_environ()
(result,) = await awaited.explain({image!r}, model="patches")
job = await awaited.submit([{image!r}], models="patches")
print(result.status, (await job.wait(timeout=180)).ok, [row.status async for row in job.results()])
"""
LATER = """
import asyncio
answers = await asyncio.gather(*(awaited.explain({image!r}, model="patches") for _ in range(5)))
print(len(answers), client.explain({image!r}, model="patches").result(timeout=30)[0].status)
client.close()
await awaited.close()
"""


@contextmanager
def a_kernel(environ):
    started, kernel = manager.start_new_kernel(
        env=environ,
        startup_timeout=60,
    )
    try:
        yield kernel
    finally:
        kernel.stop_channels()
        started.shutdown_kernel(now=True)
        started.cleanup_resources()


def run(kernel, cell):
    """Return what a cell prints; what it raises fails the test."""
    printed = []

    def note(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = kernel.execute_interactive(cell, timeout=90, output_hook=note)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed).strip()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter_client itself
def test_cells_use_both_clients(worker_environ, model, photos):
    image = str(photos[0])
    with a_kernel(worker_environ) as kernel:
        for cell in (BLOCKING, AWAITED):
            said = run(kernel, cell.format(image=image))
            assert said == "ok 1 [<Status.OK: 'ok'>]", said
        assert run(kernel, LATER.format(image=image)) == "5 ok"
