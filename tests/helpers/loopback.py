"""HTTP servers on the loopback interface, each in threads of its own."""

import sys
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer


class LoopbackServer(ThreadingHTTPServer):
    """Listens on a free port; that a client hangs up, or a server behind it, is no error."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *of_whom):
        if not isinstance(sys.exception(), OSError):
            super().handle_error(*of_whom)


@contextmanager
def served(server):
    """Serve for a block; give the server."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
