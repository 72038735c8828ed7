"""Another user of this machine, who knows no secret: what the stack's ports give him.

Run as a program it reads a task as JSON from stdin and prints the answer. Where the tests run as
root it becomes the user `nobody` first, elsewhere it only lacks the secrets.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile

from grpc import RpcError, insecure_channel

HOST = "127.0.0.1"
NOBODY = 65534
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


def as_stranger(calls):
    """Return what each call, the name of an action and its arguments, gives to another user."""
    environ = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(list(calls)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd="/",
        env=environ,
    )
    return json.loads(done.stdout)


def http(port, method, path, body="planted", kind="text/plain"):
    """Return status and body of an answer; None without an HTTP answer."""
    connection = HTTPConnection(HOST, port, timeout=5)
    sent = body.encode() if method in ("PUT", "POST") else None
    try:
        connection.request(method, path, sent, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("latin-1")
    except (HTTPException, OSError):
        return None
    finally:
        connection.close()


def form(port, path, key):
    """Return status and body of an upload by a browser's form, without policy or signature."""
    fields = {"key": key, "file": "planted"}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"' for name in fields]
    parts[-1] += '; filename="planted"'
    text = "".join(
        f"{part}\r\n\r\n{fields[name]}\r\n" for name, part in zip(fields, parts, strict=True)
    )
    return http(port, "POST", path, f"{text}--x--\r\n", "multipart/form-data; boundary=x")


def tls(port, pair):
    """Return what is answered inside TLS; `pair` is a key with its certificate, or empty."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if pair:
        with NamedTemporaryFile("w") as file:
            file.write(pair)
            file.flush()
            context.load_cert_chain(file.name)
    try:
        with socket.create_connection((HOST, port), 5) as link, context.wrap_socket(link) as secure:
            secure.sendall(PREFACE)
            return secure.recv(100).decode("latin-1")
    except OSError:
        return ""


def grpc(port, method, message):
    """Return the status of a gRPC call without credentials."""
    with insecure_channel(f"{HOST}:{port}") as channel:
        try:
            channel.unary_unary(method)(bytes.fromhex(message), timeout=5)
        except RpcError as error:
            return error.code().name
    return "OK"


def raw(port, text):
    """Return what is answered to a line of text."""
    with socket.create_connection((HOST, port), 5) as link:
        link.sendall(text.encode())
        with suppress(OSError):
            return link.recv(200).decode("latin-1")
    return ""


def connect(path):
    """Return how a Unix socket receives us."""
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(path)
        except OSError as error:
            return type(error).__name__
    return "connected"


def read(path):
    """Return how a file or folder receives us."""
    try:
        list(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes()
    except OSError as error:
        return type(error).__name__
    return "read"


def bind(path):
    """Leave a socket of ours behind."""
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(path)


ACTIONS = {each.__name__: each for each in (http, form, tls, grpc, raw, connect, read, bind)}


def drop_rights():
    """Become another user, who may not be able to read Python's own files."""
    for ask in (lambda: http(1, "GET", "/"), lambda: tls(1, ""), lambda: grpc(1, "/a/B", "")):
        ask()  # of a port where nobody listens; what is imported late is imported now
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


if __name__ == "__main__":
    calls = json.load(sys.stdin)
    drop_rights()
    json.dump([ACTIONS[name](*arguments) for name, *arguments in calls], sys.stdout)
