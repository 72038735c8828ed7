"""A stand-in for who gives keys: STS, and the metadata servers of machines and containers.

The keys end when it says, and it knows which are good.
"""

import json
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

from helpers.loopback import LoopbackServer, served
from helpers.signing_front import refusal

_ANSWER = """\
<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>of {key}</SecretAccessKey>
<SessionToken>token of {key}</SessionToken><Expiration>{end}</Expiration></Credentials>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{role}</Arn></AssumedRoleUser>
</{action}Result></{action}Response>"""
_ENDLESS = 2**30
_REFUSAL = "<ErrorResponse><Error><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"


class TokenService(LoopbackServer):
    """Gives keys that live for `seconds`, unless `refuses`, a status and a code, says otherwise.

    `asked` are the parameters of all requests to STS. `drips` seconds pass before each byte of an
    answer, and an `endless` one has a gibibyte; `sent` are its bytes that were taken.
    """

    def __init__(self):
        super().__init__(_Handler)
        self.seconds = 3600.0
        self.refuses = None
        self.drips = 0.0
        self.endless = False
        self.sent = 0
        self.asked = []
        self.used = []  # the keys of good requests to the store, with their user agents
        self._ends = {}
        self._lock = threading.Lock()

    def give(self, role, action):
        """Return what STS answers."""
        key, end = self._made()
        return _ANSWER.format(action=action, key=key, role=role, end=end)

    def give_plainly(self):
        """Return what a metadata server answers."""
        key, end = self._made()
        words = {"AccessKeyId": key, "SecretAccessKey": f"of {key}", "Token": f"token of {key}"}
        return json.dumps({**words, "Expiration": end})

    def _made(self):
        with self._lock:
            key = f"ASIA{len(self._ends):016}"
            self._ends[key] = time.time() + self.seconds
        return key, datetime.fromtimestamp(self._ends[key], UTC).isoformat()

    def all_over(self):
        """Return whether no key that was given is good any more."""
        return bool(self._ends) and max(self._ends.values()) < time.time()

    def are_over(self, keys):
        return all(self._ends[key] < time.time() for key in keys)

    def judge(self, asked):
        """Return how a store refuses a request, None if its key is good."""
        key = asked.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
        if key not in self._ends:
            return refusal(403, "InvalidAccessKeyId")
        if asked.headers.get("x-amz-security-token") != f"token of {key}":
            return refusal(403, "InvalidToken")
        if self._ends[key] < time.time():
            return refusal(400, "ExpiredToken")
        self.used.append((key, asked.headers["user-agent"]))
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(text).items()}
        self.server.asked.append(asked)
        status, code = self.server.refuses or (200, "")
        answer = _REFUSAL.format(code)
        if not code:
            answer = self.server.give(asked["RoleArn"], asked["Action"])
        self._answer(answer.encode(), "text/xml", status)

    def do_PUT(self):
        self._answer(b"token", "text/plain")

    def do_GET(self):
        if self.path.endswith("/security-credentials/"):
            self._answer(b"role", "text/plain")
        else:
            self._answer(self.server.give_plainly().encode(), "application/json")

    def _answer(self, body, kind, status=200):
        size = _ENDLESS if self.server.endless else len(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with suppress(ConnectionError):
            if self.server.endless:
                self._send_all(size)
            elif self.server.drips:
                self._drip(body, self.server.drips)
            else:
                self.wfile.write(body)

    def _send_all(self, size):
        piece = b" " * 2**16
        for _ in range(size // len(piece)):
            self.wfile.write(piece)
            self.server.sent += len(piece)

    def _drip(self, body, seconds):
        for at in range(len(body)):
            time.sleep(seconds)
            self.wfile.write(body[at : at + 1])

    def log_message(self, *_):
        pass


def a_token_service():
    return served(TokenService())
