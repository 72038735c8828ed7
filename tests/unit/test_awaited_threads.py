"""Threads of clients on asyncio: a client's own end with it, those it was given are the giver's."""

import asyncio
import threading

from camfleet import AsyncClient, Settings
from camfleet.aio.threads import Threads
from helpers.waiting import wait_until


def close(client):
    """Close a client, which runs on one of its threads; return all threads that there were."""
    closed = client._blocking.close
    seen = []
    client._blocking.close = lambda: (seen.append(threading.current_thread()), closed())
    asyncio.run(client.close())
    (thread,) = seen
    return thread


def test_a_client_ends_its_own_threads():
    thread = close(AsyncClient(Settings()))
    wait_until(lambda: not thread.is_alive(), 30)


def test_given_threads_are_used_and_live_on_until_their_giver_ends_them():
    shared = Threads()
    thread = close(AsyncClient(Settings(), threads=shared))
    assert close(AsyncClient(Settings(), threads=shared)) in shared._long.get()._threads
    assert thread.is_alive()
    shared.close()
    wait_until(lambda: not thread.is_alive(), 30)
