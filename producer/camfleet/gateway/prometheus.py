"""What a gateway tells Prometheus: counted where it happens, on a port of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from camfleet.errors import CamfleetError
from camfleet.gateway.access.crowd import Crowd
from camfleet.gateway.following import Following
from camfleet.gateway.problems import Problem
from camfleet.metrics_port import ProcessMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


class Seen:
    """One request, as far as it has come."""

    def __init__(self, method: str) -> None:
        self.method = method if method in _METHODS else "other"
        self.route = "none"  # the pattern of its path
        self.status = 0  # of the answer, once it begins
        self.began = 0.0


class Metrics(ProcessMetrics):
    """The metrics of one gateway. Safe to share by threads."""

    set_port, set_host = "--metrics-port", "--metrics-host"

    def __init__(self) -> None:
        super().__init__()
        own = self.registry
        self._requests = Counter(
            "camfleet_gateway_requests_total",
            "Requests by the pattern of their path and the status of their answer",
            ["method", "route", "status"],
            registry=own,
        )
        self._seconds = Histogram(
            "camfleet_gateway_answer_seconds",
            "Seconds until an answer began, with what the caller preferred to wait",
            ["method", "route"],
            buckets=_SECONDS,
            registry=own,
        )
        self._problems = Counter(
            "camfleet_gateway_problems_total",
            "Answers that are errors, by their code",
            ["code"],
            registry=own,
        )
        self._in_work = Gauge(
            "camfleet_gateway_requests_in_work",
            "Requests whose answer hasn't ended, streams too",
            registry=own,
        )
        self._followers = Gauge(
            "camfleet_gateway_followers", "Open streams of events", registry=own
        )
        self._jobs = Gauge("camfleet_gateway_followed_jobs", "Jobs that these follow", registry=own)
        self._connections = Gauge(
            "camfleet_gateway_connections", "Open connections, idle ones too", registry=own
        )

    @contextmanager
    def request(self, method: str) -> Iterator[Seen]:
        """Count a request for a block that answers it; `began` tells when the answer begins."""
        seen, start = Seen(method), time.monotonic()
        with self._in_work.track_inprogress():
            try:
                yield seen
            finally:
                began = seen.began or time.monotonic()
                self._requests.labels(seen.method, seen.route, str(seen.status)).inc()
                self._seconds.labels(seen.method, seen.route).observe(began - start)

    def problem(self, error: Exception) -> None:
        """Count an answer that is an error."""
        known = isinstance(error, CamfleetError | Problem)
        self._problems.labels(error.code if known else "internal_error").inc()  # type: ignore[attr-defined]

    def watch(self, following: Following, crowd: Crowd) -> None:
        """Read at each scrape how many follow how many jobs, and how many are connected."""
        self._connections.set_function(lambda: crowd.connections)
        self._followers.set_function(lambda: following.followers)
        self._jobs.set_function(lambda: following.jobs)
