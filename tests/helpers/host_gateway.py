"""A gateway on a host, and people on that same host: their line to it is never cut."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

from camfleet.gateway.access.tokens import Tokens
from helpers.asking import Asked, summary
from helpers.fleet import MODEL
from helpers.gateway import Stream, gateway
from helpers.host_fleet import DIE_WITH_US

_SCOPES = ("explain", "jobs:read", "jobs:write", "admin")
_PEOPLE = 3


class HostGateway:
    """What the people do, each in a thread on the host."""

    def __init__(self, host, web, pool):
        self._host = host
        self._web = web
        self._pool = pool

    def asks(self, *words, **how):
        """Begin a request; give the future of its answer."""
        return self._begin(self._web.ask, *words, **how)

    def ask(self, *words, **how):
        return self.asks(*words, **how).result()

    def follows(self, job_id):
        """Begin to follow a job; give the future of the events until its stream ends."""
        return self._begin(self._follow, job_id)

    @contextmanager
    def asking(self, photo):
        """Let people ask for explanations all the time, for a block; give their log."""
        log, end = WebLog(), Event()
        people = [self._begin(self._keep_asking, photo, log, end) for _ in range(_PEOPLE)]
        try:
            yield log
        finally:
            end.set()
        for each in people:
            each.result()

    def _begin(self, work, *words, **how):
        return self._host.do(self._pool.submit, work, *words, **how)

    def _follow(self, job_id):
        events = []
        with closing(Stream(self._web, job_id)) as stream:
            while event := stream.next():
                events.append(event)
        return events

    def _keep_asking(self, photo, log, end):
        question = {"image": photo, "model": MODEL, "pictures": []}
        while not end.wait(0.2):
            begun = time.monotonic()
            answer = self._web.ask("POST", "/v1/explain", question)
            said = answer.json["code"] if answer.status >= 400 else str(answer.status)
            log.asked.append(Asked(begun, time.monotonic() - begun, said))


class WebLog:
    """What people have asked so far: statuses of answers, codes of problems."""

    def __init__(self):
        self.asked = []

    def answered(self, since=0.0):
        return [each for each in self.asked if each.said == "200" and each.begun >= since]

    def said(self):
        return {each.said for each in self.asked}

    def longest(self):
        return max(each.seconds for each in self.asked)

    def summary(self):
        return summary(self.asked)


@contextmanager
def host_gateway(fleet, host, folder):
    """Run a gateway on a host for a block."""
    token, _ = Tokens(fleet.client.storage).create("root", _SCOPES, 1)
    made = gateway(fleet.environ, folder, token, before=DIE_WITH_US)
    with ThreadPoolExecutor(_PEOPLE + 8) as pool:
        web = host.do(made.__enter__)
        try:
            yield HostGateway(host, web, pool)
        finally:
            made.__exit__(None, None, None)  # which ends what the people wait for
