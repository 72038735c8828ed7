"""What stands before a store and asks it in its own name, so that it may change what is asked.

A request that is changed on its way wouldn't fit its signature any more.
"""

import http.client
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from helpers.loopback import LoopbackServer, served

_KEPT = ("content-type", "content-md5", "range", "if-match", "if-none-match")
_SIGNATURE = ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
_OWN = {"content-length", "transfer-encoding", "connection", "server"}


@dataclass
class Asked:
    """A request; names of headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answered:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class SigningFront(LoopbackServer):
    """Passes requests on, signed with the keys of the store.

    `before(asked)` may change a request, or return an `Answered` in the place of the store's;
    `after(asked, answered)` may change that.
    """

    def __init__(self, endpoint, access, secret):
        super().__init__(_Handler)
        self.target = endpoint
        self.keys = Credentials(access, secret)
        self.before = lambda _asked: None
        self.after = lambda _asked, _answered: None

    def pass_on(self, asked):
        """Return what the store answers."""
        kept = {
            name: value
            for name, value in asked.headers.items()
            if name in _KEPT or (name.startswith("x-amz-") and name not in _SIGNATURE)
        }
        request = AWSRequest(asked.method, self.target + asked.path, kept, asked.body)
        S3SigV4Auth(self.keys, "s3", "us-east-1").add_auth(request)
        line = http.client.HTTPConnection(urlsplit(self.target).netloc)
        line.request(asked.method, asked.path, asked.body or None, dict(request.headers.items()))
        answer = line.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        answered = Answered(answer.status, headers, answer.read())
        line.close()
        return answered


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def work(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        asked = Asked(self.command, self.path, headers, body)
        answered = self.server.before(asked)
        if answered is None:
            answered = self.server.pass_on(asked)
            self.server.after(asked, answered)
        self.say(answered)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = work  # noqa: N815  # http.server's names

    def say(self, answered):
        self.send_response_only(answered.status)
        for name, value in answered.headers.items():
            if name not in _OWN:
                self.send_header(name, value)
        length = answered.headers.get("content-length", "0") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(answered.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answered.body)

    def log_message(self, *_):
        pass


def refusal(status, code):
    """Return an answer of S3's that refuses."""
    text = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>"
    return Answered(status, {"content-type": "application/xml"}, text.encode())


def a_signing_front(endpoint, access, secret):
    return served(SigningFront(endpoint, access, secret))
