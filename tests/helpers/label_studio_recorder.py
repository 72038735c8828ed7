"""A backend that notes what Label Studio asks of it, and answers as camfleet does."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

VERSION = "net@1 gradcam auto 0.5 box"


@contextmanager
def recorder():
    """Give the address of a backend, and the list of requests that it got."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer({"status": "UP"}, None)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = self.path.rpartition("/")[2]
            answers = {"setup": {"model_version": VERSION}, "webhook": {}}
            results = {"results": [[] for _ in body.get("tasks", ())]}
            self._answer(answers.get(name, results), body)

        def _answer(self, answer, body):
            asked.append(
                {
                    "method": self.command,
                    "path": self.path.rpartition("/")[2],
                    "authorization": self.headers.get("Authorization", "").partition(" ")[0],
                    "content_type": self.headers.get("Content-Type"),
                    "body": body,
                }
            )
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/integrations/label-studio/net", asked
    finally:
        server.shutdown()
        server.server_close()


def form_of(value):
    """Return a value's form: the names and types in it, of a list those of its first member."""
    if isinstance(value, dict):
        return {name: form_of(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [form_of(inner) for inner in value[:1]]
    return type(value).__name__
