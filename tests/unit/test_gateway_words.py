"""The gateway's words against the client's and the contract's."""

import errno
import inspect
import re
from typing import get_args

import pytest

from camfleet import Client, errors
from camfleet.errors import CamfleetError
from camfleet.gateway.access.policy import SourcePolicy
from camfleet.gateway.access.tokens import TokenChecker
from camfleet.gateway.app import ROUTES
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import JobRequest
from camfleet.gateway.endpoints.options import Options
from camfleet.gateway.problems import STATUSES, Problem, answer_to, known, status_of
from camfleet.jobs.options import ExplainOptions, JobOptions
from camfleet.jobstore.keys import INTERNAL
from camfleet.jobstore.s3_roots import CloudRoots
from camfleet.settings import Settings
from helpers import documents

POLICY = SourcePolicy("own", ("shared/open/",))
DIGEST = "0" * 64


def test_of_other_clouds_callers_name_what_the_operator_opens():
    opened = Settings(redis_url="", az_roots=("photos/day",), gs_roots=("*",))
    policy = SourcePolicy("own", (), CloudRoots.of(opened))
    for uri in ("az://photos/day/a.jpg", "gs://anything/a.jpg"):
        policy.check_image(uri)
        policy.check_source(uri)
        with pytest.raises(errors.SourceForbidden):
            POLICY.check_image(uri)  # of a gateway without these settings
    for uri in ("az://photos/a.jpg", "az://photos/day/../a.jpg", "gs://anything/../a.jpg"):
        with pytest.raises(errors.SourceForbidden):
            policy.check_image(uri)


def test_an_explanation_has_the_keywords_of_the_client():
    assert set(Options.__struct_fields__) == set(ExplainOptions.__annotations__) - {"outputs"}


def test_a_job_has_the_keywords_of_submit():
    given = set(JobRequest.__struct_fields__) - {"images"}
    signature = set(inspect.signature(Client.submit).parameters) - {"self", "options"}
    theirs = signature | set(JobOptions.__annotations__)
    here = {"outputs", "job_id", "upload", "caller", "on_progress"}  # of this side of HTTP only
    assert given == theirs - here


@pytest.mark.parametrize("kind", errors._tree(CamfleetError), ids=lambda kind: kind.code)
def test_every_error_has_a_status_and_keeps_its_code(kind):
    answered = answer_to(kind("what happened"))
    assert answered.status_code == status_of(kind()) >= 400
    assert f'"code":"{kind.code}"'.encode() in answered.body
    ours = issubclass(kind, errors.ServiceError) or STATUSES.get(kind) == 500
    assert (answered.status_code >= 500) == ours or kind is CamfleetError


def test_what_a_browser_keeps_is_for_whoever_asked_for_it():
    kept = served.headers_of("a")
    assert kept["Cache-Control"].startswith("private, ")
    assert kept["Vary"] == served.SHORT["Vary"] == served.LONG["Vary"] == "Authorization, Cookie"


def test_of_a_bug_nothing_is_told_and_of_a_problem_all():
    bug = answer_to(KeyError("secret"))
    assert (bug.status_code, b"secret" in bug.body) == (500, False)
    assert answer_to(Problem(418, "teapot", "short and stout")).status_code == 418


def test_a_full_disk_is_no_bug_and_whoever_sends_is_told_another_way():
    told = known(OSError(errno.ENOSPC, "No space left on device", "/tmp/secret"))
    assert (told.status, told.code) == (503, "no_space")
    assert "send files to a URL" in str(told)
    other = OSError(errno.EACCES, "Permission denied")
    assert known(other) is other


@pytest.mark.parametrize(
    "uri",
    [
        "s3://own/photos/a.jpg",
        f"s3://own/uploads/{DIGEST}.jpg",
        "s3://shared/open/a.jpg",
        "https://a.example/b.jpg",
    ],
)
def test_an_image_that_callers_may_name(uri):
    POLICY.check_image(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "a.jpg",
        "file:///a.jpg",
        "HTTPS://a.example/b",
        "s3://shared/closed/a.jpg",
        "s3://other/a.jpg",
        "s3://own/maps/a/b.png",
        "s3://own/uploads/",
        f"s3://own/uploads/{DIGEST}.jpg/../b",
        f"s3://own/uploads/{DIGEST[1:]}",
        f"s3://own//uploads/{DIGEST}.jpg",
        f"s3://own/uploads//{DIGEST}.jpg",
        "s3://own//maps/a/b.png",
        "s3://own/maps\\a\\b.png",
        "s3://own/\\maps/a/b.png",
        *(f"s3://own/{prefix}a" for prefix in INTERNAL),
    ],
)
def test_an_image_that_they_may_not(uri):
    with pytest.raises(errors.SourceForbidden):
        POLICY.check_image(uri)


def test_the_whole_bucket_is_no_source_and_a_folder_is():
    POLICY.check_source("s3://own/photos/")
    closed = (
        "",
        "uploads/",
        "maps/",
        "jobs/",
        "/",
        "//",
        "\\",
        "/uploads/",
        "\\uploads/",
        "//maps//",
    )
    for uri in (f"s3://own/{key}" for key in closed):
        with pytest.raises(errors.SourceForbidden):
            POLICY.check_source(uri)


def test_guessing_tokens_asks_the_bucket_once_for_each_id_and_for_no_nonsense():
    asked = []

    class Bucket:
        def find(self, token_id):
            asked.append(token_id)

    checker = TokenChecker(Bucket())
    guess = f"cf_{'1' * 16}_{'A' * 43}"
    for text in (guess, guess, "cf_" + "../" * 9, "", "cf_\u0661" + guess, guess + "\n"):
        assert checker.check(text) is None
    assert asked == ["1" * 16]


def test_every_scope_is_one_that_the_command_offers():
    from camfleet.cli.tokens import create
    from camfleet.contract.tokens import Scope

    (option,) = (param for param in create.params if param.name == "scopes")
    assert tuple(option.type.choices) == get_args(Scope)


def test_rows_have_the_filters_of_the_command_line():
    from camfleet.gateway.endpoints.results.results import ResultsQuery
    from camfleet.results.query import Filters

    own = {"column", "maps", "limit", "cursor", "format"}
    assert set(ResultsQuery.__struct_fields__) - own == set(Filters.__annotations__)


def test_the_document_has_every_endpoint_and_every_code_of_http():
    page = documents.ROOT / "docs" / "http-api.md"
    rows = documents.tables(page)
    named = [documents.bare(row[0]) for row in rows["Endpoints"][1:]]
    assert sorted(named) == sorted(f"{route.method} {route.path}" for route in ROUTES)
    documented = {
        code for row in rows["Errors and limits"][1:] for code in re.findall(r"`(\w+)`", row[1])
    }
    sources = (documents.ROOT / "producer" / "camfleet" / "gateway").rglob("*.py")
    raised = {
        code
        for path in sources
        for code in re.findall(r'Problem\(\s*\d+,\s*"(\w+)"', path.read_text())
    }
    assert documented == raised
