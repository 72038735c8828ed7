"""The example of nginx: TLS, a path prefix, events as they come."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme

from browser.conftest import ALL
from helpers.gateway import gateway
from helpers.metrics import free_port
from helpers.waiting import wait_until

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "nginx" / "camfleet.conf"
NAME = "camfleet.example.org"
OPTIONS = re.search(r"camfleet serve (.*)", EXAMPLE.read_text())[1].split()
MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/camfleet.conf;
}}
"""


@contextmanager
def nginx(folder, gateway_port):
    """Run nginx with the example, but for ports and the place of the certificate."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "install nginx: its example is tested with it"
    certificate = trustme.CA().issue_cert(NAME)
    certificate.private_key_pem.write_to_path(folder / "camfleet.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "camfleet.pem", append=True)
    port = free_port()
    text = EXAMPLE.read_text()
    for old, new in (
        ("127.0.0.1:8100", f"127.0.0.1:{gateway_port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/", f"{folder}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "camfleet.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    try:
        wait_until(lambda: process.poll() is not None or listens(port), 20)
        assert process.poll() is None, (folder / "error.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(20)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def proxied(worker_environ, tmp_path_factory, model):
    """Give the port of an nginx before a gateway as the example's head starts it."""
    folder = tmp_path_factory.mktemp("nginx")
    with (
        gateway(worker_environ, folder, None, *OPTIONS) as behind,
        nginx(folder, behind.port) as port,
    ):
        yield port


class Plain:
    """A client that trusts any certificate and finds the example's name on loopback."""

    def __init__(self, port, token):
        self._port, self._token = port, token

    def ask(self, method, path, body=None, **headers):
        connection = self._connect()
        connection.request(method, path, body, self._headers(headers))
        answer = connection.getresponse()
        told = (
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read(),
        )
        connection.close()
        return told

    def lines(self, path):
        """Yield the lines of a stream as they come."""
        connection = self._connect()
        connection.request("GET", path, headers=self._headers({}))
        with closing(connection), connection.getresponse() as answer:
            while line := answer.readline():
                yield line.decode().rstrip()

    def _connect(self):
        context = ssl._create_unverified_context()
        return HTTPSConnection("127.0.0.1", self._port, timeout=60, context=context)

    def _headers(self, given):
        names = {name.replace("_", "-"): value for name, value in given.items()}
        return {"Host": f"{NAME}:{self._port}", "Authorization": f"Bearer {self._token}", **names}


def test_the_page_works_below_a_prefix_by_tls(opened, launch, proxied, token, model, photos):
    browser = launch(f"--host-resolver-rules=MAP {NAME} 127.0.0.1")
    try:
        window = opened(
            f"https://{NAME}:{proxied}/camfleet/", browser=browser, ignore_https_errors=True
        )
        page = window.page
        window.sign_in(token)
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (
            *("__Secure-camfleet", True, True),
            "Strict",
        )
        assert cookie["path"] == "/camfleet/"
        page.set_input_files("input[type=file]", str(photos[0]))
        page.locator(".class-bar").first.wait_for()
        window.open("#/submit")
        page.get_by_role("radio", name="From this computer").check()
        page.set_input_files("input[type=file]", [str(path) for path in photos[:3]])
        page.get_by_role("button", name="Submit").click()
        page.locator(".job-state", has_text="complete").wait_for(timeout=60_000)
        page.goto(window.base.removesuffix("/"))  # without the slash: nginx adds it
        page.get_by_role("navigation", name="Views").wait_for()
        page.context.close()
    finally:
        browser.close()


def test_events_come_as_they_happen_and_places_have_the_prefix(proxied, tokens, model, photos):
    plain = Plain(proxied, tokens.create("ann", ALL, 1)[0])
    told = plain.ask(
        "POST", "/camfleet/v1/uploads", photos[1].read_bytes(), Content_Type="image/png"
    )
    uri = json.loads(told[2])["uri"]
    body = json.dumps({"models": model.id, "images": [{"image": uri}]})
    status, headers, _ = plain.ask(
        *("POST", "/camfleet/v1/jobs", body),
        Content_Type="application/json",
        Idempotency_Key="behind-nginx",
    )
    assert status == 201
    place = headers["location"]
    assert place.startswith("/camfleet/v1/jobs/http-")
    assert plain.ask("GET", place)[0] == 200
    first = []
    started = time.monotonic()

    def read():
        with closing(plain.lines(f"{place}/events")) as lines:
            first.append((next(lines), time.monotonic() - started))

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(20)
    ((line, seconds),) = first
    assert line.startswith("retry:")
    assert seconds < 10  # a proxy that collects would hold it back


def test_other_names_and_http_are_refused(proxied, token):
    plain = Plain(proxied, token)
    assert plain.ask("GET", "/camfleet/v1/models", Host="evil.example")[0] == 421
    assert b"nginx" in plain.ask("GET", "/v1/models")[2]  # its own: nothing lies above the prefix
    assert "strict-transport-security" in plain.ask("GET", "/camfleet/")[1]
