"""Certificates of an authority of our own, and a server that ends TLS in front of another."""

import datetime as dt
import select
import socket
import ssl
import threading
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlsplit

import trustme

DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority; `file` holds its certificate."""

    def __init__(self, folder, name="own"):
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def good(self):
        return self._ca.issue_cert("127.0.0.1", "localhost")

    def of_another_host(self):
        return self._ca.issue_cert("other.example")

    def expired(self):
        now = dt.datetime.now(dt.UTC)
        return self._ca.issue_cert("127.0.0.1", not_before=now - 9 * DAY, not_after=now - DAY)


class TlsFront:
    """Listens with a certificate and passes on what it decrypts to the server of a URL.

    `received` is what clients said inside of TLS; `failures` counts handshakes that broke. Of what
    the server answers, each word in `named` is replaced.
    """

    def __init__(self, url, certificate, named=MappingProxyType({})):
        self.named = named
        server = urlsplit(url)
        self._target = (server.hostname, server.port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = bytearray()
        self.failures = 0
        self._closed = False
        self._ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, url):
        """Return a URL of the server as one that leads through here, encrypted."""
        scheme, _, rest = url.replace(f":{self._target[1]}", f":{self.port}").partition("://")
        return f"{scheme}s://{rest}"

    def close(self):
        """End all connections; the threads that poll them close them."""
        self._closed = True
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            threading.Thread(target=self._greet, args=(client,), daemon=True).start()

    def _greet(self, client):
        try:
            client.settimeout(5)
            secure = self._context.wrap_socket(client, server_side=True)
        except OSError:
            self.failures += 1
            client.close()
            return
        secure.settimeout(None)
        server = socket.create_connection(self._target)
        _Link(self, secure, server).run()

    def hold(self, *ends):
        self._ends += ends
        if self._closed:
            self.close()


class _Link:
    """One connection: a single thread owns its TLS socket, which isn't safe to share."""

    def __init__(self, front, secure, server):
        self._front = front
        self._secure = secure
        self._server = server
        front.hold(secure, server)

    def run(self):
        poll = select.poll()
        poll.register(self._secure, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        with suppress(OSError, ValueError):
            while True:
                ready = {number for number, _event in poll.poll()}
                if self._secure.fileno() in ready and not self._pass_on():
                    break
                if self._server.fileno() in ready:
                    data = self._server.recv(2**16)
                    if not data:
                        break
                    for word, other in self._front.named.items():
                        data = data.replace(word, other)
                    self._secure.sendall(data)
        self._secure.close()
        self._server.close()

    def _pass_on(self):
        data = self._secure.recv(2**16)
        while self._secure.pending():
            data += self._secure.recv(2**16)
        self._front.received += data
        self._server.sendall(data)
        return bool(data)
