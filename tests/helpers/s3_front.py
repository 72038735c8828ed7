"""What stands before an object store, on the loopback interface, and answers in its stead."""

import http.client
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from helpers.loopback import LoopbackServer, served

_REFUSED = "<Error><Code>{}</Code><Message>so it is</Message></Error>"
_CODES = {403: "AccessDenied", 429: "SlowDown", 500: "InternalError", 503: "ServiceUnavailable"}
_OWN = {"content-length", "transfer-encoding", "connection", "date", "server"}


class StoreFront(LoopbackServer):
    """Passes requests on, unless `trouble(method, path)` names what happens to one instead.

    A status: it's refused by that. `half`: the answer breaks off. `lost`: it's done, and no answer
    comes. `none`: it isn't done, and no answer comes. `whole`: it answers as a store does that
    knows no ranges.
    """

    def __init__(self, endpoint):
        super().__init__(_Handler)
        self.target = urlsplit(endpoint).netloc
        self.trouble = lambda _method, _path: None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def work(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.server.trouble(self.command, self.path)
        if trouble in _CODES:
            self.answer(trouble, _REFUSED.format(_CODES[trouble]).encode(), [])
        elif trouble == "none":
            self.close_connection = True
        else:
            self.pass_on(body, trouble)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = work  # noqa: N815  # http.server's names

    def pass_on(self, body, trouble):
        line = http.client.HTTPConnection(self.server.target)
        line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            line.putheader(name, value)
        line.endheaders(body)
        answer = line.getresponse()
        self.close_connection = trouble is not None
        if trouble != "lost":
            data, size = answer.read(), answer.getheader("Content-Length", "0")
            half = data[: len(data) // 2] if trouble == "half" else data
            status, headers = answer.status, answer.getheaders()
            if trouble == "whole":
                status, headers = 200, [pair for pair in headers if pair[0] != "Content-Range"]
            self.answer(status, half, headers, size)
        line.close()

    def answer(self, status, body, headers, size=None):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", size or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def a_storefront(endpoint):
    return served(StoreFront(endpoint))
