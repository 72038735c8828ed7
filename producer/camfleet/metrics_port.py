"""Metrics of one process, and the port on which Prometheus reads them."""

from typing import TYPE_CHECKING, ClassVar

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from camfleet.errors import ConfigurationError

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer


class ProcessMetrics:
    """A registry of its own, which Prometheus can be served. Safe to share by threads."""

    set_port: ClassVar[str]  # what sets the port, for who reads the error
    set_host: ClassVar[str]

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._server: tuple[WSGIServer, Thread] | None = None

    def serve(self, host: str, port: int) -> None:
        """Serve Prometheus in separate threads, or not at port 0; raises `ConfigurationError`."""
        if not port:
            return
        try:
            self._server = start_http_server(port, host, self.registry)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"no metrics at {host}:{port} ({error}): set {self.set_port} to a free port, "
                f"{self.set_host} to an address of this machine"
            ) from error

    def close(self) -> None:
        """Stop serving, and free the port. May be called more than once."""
        if self._server:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
