"""Photographs on a web server of the loopback interface, which counts who asks."""

import io
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from PIL import Image

from helpers.loopback import LoopbackServer, served
from helpers.samples import photo


class Album:
    """Every path ending in `<number>.png` is a photograph; `asked` counts the requests by URI.

    The URIs in `missing` aren't there at the moment; every answer takes `delay` seconds.
    """

    delay = 0.0

    def __init__(self, port, host="127.0.0.1"):
        self.port = port
        self._site = f"http://{host}:{port}"
        self.asked = Counter()
        self.missing = set()

    def uris(self, name, count):
        """Return the URIs of so many photographs that nobody has asked for before."""
        return [self.uri(f"/{name}/{number}.png") for number in range(count)]

    def uri(self, path):
        return self._site + path

    def times(self, uris):
        """Return how often each was asked for."""
        return [self.asked[uri] for uri in uris]


@contextmanager
def an_album(host="127.0.0.1"):
    """Serve photographs on the loopback interface, which others may know as another host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            uri = album.uri(self.path)
            album.asked[uri] += 1
            time.sleep(album.delay)
            body = _png(int(self.path.rpartition("/")[2].removesuffix(".png")))
            self.send_response(404 if uri in album.missing else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = LoopbackServer(Handler)
    album = Album(server.server_port, host)
    with served(server):
        yield album


def _png(number):
    file = io.BytesIO()
    Image.fromarray(photo(10 + number % 40, 10 + 3 * number % 60)).save(file, "PNG")
    return file.getvalue()
