"""Photographs of Google's store through a gateway, from a server that stands for it."""

from contextlib import closing
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.results import Status
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.jobstore.totals import Image, Totals
from helpers import rows
from helpers.gateway import gateway
from helpers.loopback import LoopbackServer, served

JPEG = b"\xff\xd8\xff" + bytes(100_000)
PAGE = b"<html>"
LIMIT = 200_000
URIS = (
    "gs://photos/a b.jpg",
    "gs://photos/changed.jpg",
    "gs://photos/page.jpg",
    "gs://photos/large.jpg",
    "gs://photos/absent.jpg",
    "gs://others/a b.jpg",
    "az://photos/a b.jpg",
    "/photos/a b.jpg",
)
OBJECTS = {
    "/photos/a b.jpg": JPEG,
    "/photos/changed.jpg": JPEG,
    "/photos/page.jpg": PAGE,
    "/photos/large.jpg": JPEG + bytes(LIMIT),
    "/others/a b.jpg": JPEG,
}


class Store(BaseHTTPRequestHandler):
    """Answers as Google's XML API does."""

    def do_GET(self):
        data = OBJECTS.get(unquote(self.path))
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("ETag", '"v2"' if "changed" in self.path else '"v1"')
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def job(settings, storage):
    parts = [[rows.row(f"{uri}", [[1.0]], image_uri=uri, image_etag="v1")] for uri in URIS]
    record = replace(rows.job(storage, "of-clouds", parts, 1), owner="clouds")
    storage.put(keys.job("of-clouds"), encode_json(sealed(record, 2)), "application/json")
    with closing(Ledger(settings)) as ledger:
        ledger.open(record)
        for chunk in range(len(parts)):
            ledger.commit("of-clouds", chunk, Totals.of([Image("a", Status.OK, None)]))
    return "/v1/jobs/of-clouds"


@pytest.fixture(scope="module")
def web(environ, storage, tmp_path_factory):
    token, _ = Tokens(storage).create("clouds", ("jobs:read",), 1)
    with served(LoopbackServer(Store)) as store:
        own = {
            "GOOGLE_BASE_URL": store.url,
            "GOOGLE_SKIP_SIGNATURE": "true",
            "CAMFLEET_GS_ROOTS": "photos",
            "CAMFLEET_AZ_ROOTS": "photos",
            "CAMFLEET_MAX_IMAGE_BYTES": str(LIMIT),
        }
        with gateway({**environ, **own}, tmp_path_factory.mktemp("gateway"), token) as started:
            yield started


def ask(web, job, uri, query=""):
    return web.ask("GET", f"{job}/rows/{URIS.index(uri)}:0/original{query}")


@pytest.mark.parametrize("query", ["", "?stream=true"])
def test_a_photograph_of_another_cloud_comes_as_what_it_is(web, job, query):
    answered = ask(web, job, "gs://photos/a b.jpg", query)
    assert (answered.status, answered.body) == (200, JPEG), answered.body[:500]
    assert answered.headers["content-type"] == "image/jpeg"
    assert answered.headers["content-disposition"].startswith("inline; ")


@pytest.mark.parametrize(
    ("uri", "status", "code", "said"),
    [
        ("gs://photos/changed.jpg", 422, "image_unreadable", "has changed since"),
        ("gs://photos/page.jpg", 422, "image_unreadable", "begin like an image"),
        ("gs://photos/large.jpg", 413, "object_too_large", "photos/large.jpg"),
        ("gs://photos/absent.jpg", 404, "object_missing", "photos/absent.jpg"),
        ("gs://others/a b.jpg", 422, "source_forbidden", "CAMFLEET_GS_ROOTS"),
        ("az://photos/a b.jpg", 422, "access_denied", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("/photos/a b.jpg", 422, "invalid_request", "the row has its URI"),
    ],
)
def test_a_photograph_that_is_not_given_says_why(web, job, uri, status, code, said):
    answered = ask(web, job, uri)
    assert (answered.status, answered.json["code"]) == (status, code), answered.json
    assert said in answered.json["detail"]
