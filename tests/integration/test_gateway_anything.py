"""Anything, sent to every endpoint: no answer is a bug's, and each is what the description says.

`make tools` does the same with Schemathesis, for longer and with a worker.
"""

import json
import re
from contextlib import closing
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from camfleet.gateway.app import ROUTES
from camfleet.gateway.problems import ProblemDocument
from camfleet.storage.storage import Storage
from helpers.databases import on_database
from helpers.gateway import gateway

DATABASE = "14"
EXAMPLES = 12
TEXT = some.text(max_size=20) | some.sampled_from(
    [
        "..",
        ".",
        "0",
        "-1",
        "1e400",
        "nan",
        "a@1",
        "\x00",
        "\u202e",
        "é" * 40,
        "a" * 3000,
        "%2f",
        "{}",
    ]
)
PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | TEXT,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
HEADERS = {
    "Prefer": some.sampled_from(["respond-async", "wait=0", "wait=-1", "wait=1e9", "x=\xff"]),
    "If-None-Match": some.sampled_from(["*", '"a"', 'W/"b", "c"', ""]),
    "Last-Event-ID": some.sampled_from(["0-1", ":end", "9" * 50, "\xff"]),
    "Accept": some.sampled_from(["*/*", "text/csv", "a/b;q=x", ",,,", "\xe9"]),
    "Idempotency-Key": some.sampled_from(["a", "", " ", "a" * 300]),
    "Range": some.sampled_from(["bytes=0-", "bytes=5-1", "bytes=a-b", "lines=1-2"]),
}


@pytest.fixture(scope="module")
def web(settings, environ, tmp_path_factory):
    own = on_database(settings, DATABASE)
    with closing(Storage(own)) as storage:
        most = Limits(requests=100_000, jobs=100_000)
        token, _ = Tokens(storage).create("anybody", ("admin",), 1, most)
    environ = {**environ, "CAMFLEET_REDIS_URL": own.redis_url}
    with gateway(environ, tmp_path_factory.mktemp("anything"), token) as started:
        yield started


@some.composite
def requests(draw, route):
    """Draw a path with its query, a body and header fields for a route."""
    path = re.sub(r"\{\w+\}", lambda _: quote(draw(TEXT), safe="") or "x", route.path)
    names = names_of(route.query)
    name = some.sampled_from(names) | TEXT if names else TEXT
    given = draw(some.lists(some.tuples(name, TEXT), max_size=3))
    headers = draw(some.fixed_dictionaries({}, optional=HEADERS))
    body = None
    if route.method != "GET":
        kinds = ["application/json", "image/jpeg", "text/csv", "", "multipart/form-data", "*/*"]
        headers["Content-Type"] = draw(some.sampled_from(kinds))
        body = draw(some.binary(max_size=40) | documents(route).map(as_json))
    return f"{path}?{urlencode(given, errors='replace')}" if given else path, body, headers


def documents(route):
    """Return a strategy of documents with some of a body's fields."""
    names = names_of(route.body)
    return some.dictionaries(some.sampled_from(names), PLAIN) if names else PLAIN


def names_of(kind):
    return [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []


def as_json(document):
    return json.dumps(document).encode("utf-8", "replace")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_whatever_is_sent_the_answer_is_one_that_is_described(web, route):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(route))
    def check(request):
        path, body, headers = request
        given = {name.replace("-", "_"): value for name, value in headers.items()}
        answered = web.ask(route.method, path, body, **given)
        if answered.status in route.answers:
            conforms(route.answers[answered.status], answered)
            return
        assert answered.headers["content-type"] == "application/problem+json", answered
        problem = msgspec.json.decode(answered.body, type=ProblemDocument)
        assert problem.status == answered.status
        assert answered.status < 500 or problem.code == "not_ready", (path, body, answered.body)

    check()


def conforms(kind, answered):
    """Check that a body is of the kind that the route names."""
    if kind is None:
        assert answered.body == b""
    elif isinstance(kind, str | tuple):
        media = answered.headers["content-type"].partition(";")[0]
        assert media in ((kind,) if isinstance(kind, str) else kind)
    else:
        assert answered.headers["content-type"] == "application/json"
        msgspec.json.decode(answered.body, type=kind)
