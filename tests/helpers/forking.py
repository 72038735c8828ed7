"""A program that uses one client in a parent and in its forked children.

`python -m helpers.forking KIND IMAGE` prints "ok" once for each process. KIND is how it forks:
fork, multiprocessing, pool, or thread, where other threads use the client while it forks.
"""

import multiprocessing
import os
import sys
import threading
from contextlib import suppress

from camfleet import AnswerTimeout, Client


def use(client, image):
    """Do what backends do, with connections that are there by then."""
    (result,) = client.explain(image, model="patches").result(timeout=30)
    job = client.submit([image], models="patches")
    assert job.wait(timeout=180).ok == 1, job.status()
    assert client.job(job.id).status().complete
    assert len(list(job.results())) == 1
    return job, result.class_name


def use_what_the_parent_made(client, image, made):
    """Wait for the parent's answer, and read its job; then all over."""
    answer, job = made
    assert answer.result(timeout=30)[0].class_name
    assert job.status().complete
    assert len(list(job.results())) == 1
    use(client, image)
    client.close()
    sys.stdout.write("ok\n")
    sys.stdout.flush()


def main(kind, image):
    client = Client.from_environ()
    job, _ = use(client, image)
    made = client.explain(image, model="patches"), job
    if kind == "fork":
        with_fork(client, image, made)
    elif kind == "thread":
        with_busy_threads(client, image, made)
    else:
        with_processes(client, image, made)
    use_what_the_parent_made(client, image, made)


def with_processes(client, image, made):
    """Fork after an answer that didn't come in time, for which workers were asked for a sign."""
    with suppress(AnswerTimeout):
        client.explain(image, model="patches").result(timeout=0.001)
    context = multiprocessing.get_context("fork")
    started = [context.Event() for _ in range(2)]
    children = [
        context.Process(target=begin, args=(event, client, image, made)) for event in started
    ]
    for child in children:
        child.start()
    assert all(event.wait(8) for event in started), "a child hangs before it begins"
    for child in children:
        child.join(90)
        assert child.exitcode == 0, child.exitcode


def begin(started, *args):
    started.set()
    use_what_the_parent_made(*args)


def with_fork(client, image, made):
    child = os.fork()
    if not child:
        use_what_the_parent_made(client, image, made)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def with_busy_threads(client, image, made):
    """Fork while locks and connections of the client are in use."""
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            client.explain(image, model="patches").result(timeout=30)
            client.storage.exists("models")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        with_fork(client, image, made)
    ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
