"""Findings of a report over HTTP: who confirms or dismisses one, and when, stays beside it."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.audit import findings
from camfleet.audit.reporting import Reporter
from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.findings import Decision, Findings
from camfleet.contract.messages import ErrorInfo
from camfleet.errors import InvalidRequest
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys, later_keys, objects
from helpers import rows
from helpers.gateway import gateway

JOB = "web-findings"


@pytest.fixture(scope="module")
def tokens(storage):
    return Tokens(storage)


@pytest.fixture(scope="module")
def web(environ, tokens, tmp_path_factory):
    token, _ = tokens.create("flora", ("jobs:read", "jobs:write"), 1)
    with gateway(environ, tmp_path_factory.mktemp("gateway"), token) as started:
        yield started


def no_pictures(request):
    return tuple(ErrorInfo(code="image_not_found", message="gone") for _ in request.images)


@pytest.fixture(scope="module")
def job(settings, storage):
    """Give the path of a job of which one class often looks into a corner, with its report."""
    rng = np.random.default_rng(0)
    made = [
        rows.row(n, rows.blob(rng, (7, 7), (6.0, 6.0) if n % 4 == 0 else None), n % 2)
        for n in range(400)
    ]
    record = replace(rows.job(storage, JOB, [made], 400), owner="flora")
    storage.put(keys.job(JOB), encode_json(sealed(record, 2)), "application/json")
    with closing(Ledger(settings)) as ledger:
        ledger.open(record)
    write_report(storage, record)
    return f"/v1/jobs/{JOB}"


def write_report(storage, record):
    reporter = Reporter(storage, no_pictures)
    report = reporter.make(record)
    place = storage.uri(keys.report_folder(JOB))
    reporter.write(report, reporter.photographs(report), place)
    return report


@pytest.fixture
def unsaid(storage):
    storage.delete([later_keys.findings(JOB)])


@pytest.mark.usefixtures("unsaid")
def test_a_finding_is_confirmed_dismissed_and_open_again_and_all_of_it_is_kept(
    web, job, storage, tokens
):
    found = web.ask("GET", f"{job}/findings").json["findings"]
    (corner,) = [one for one in found if one["class_name"] == "class 0"]
    assert (corner["cell"], corner["grid"], corner["verdict"]) == ([6, 6], [7, 7], "open")
    assert corner["peaks"] >= 80
    assert corner["samples"]
    place = f"{job}/findings/{corner['id']}"
    other, _ = tokens.create("flora", ("jobs:write",), 1)
    web.ask("PUT", place, {"verdict": "confirmed", "note": "<b>a tag</b>"})
    web.ask("PUT", place, {"verdict": "dismissed"}, token=other)
    said = web.ask("PUT", place, {"verdict": "open"})
    assert said.status == 200
    assert said.json == web.ask("GET", f"{job}/findings").json
    (after,) = [one for one in said.json["findings"] if one["id"] == corner["id"]]
    assert [one["verdict"] for one in after["decisions"]] == ["open", "dismissed", "confirmed"]
    assert [one["note"] for one in after["decisions"]] == ["", "", "<b>a tag</b>"]
    assert {one["by"] for one in after["decisions"]} == {"flora"}
    times = [one["at"] for one in after["decisions"]]
    assert times == sorted(times, reverse=True)
    kept = json.loads(storage.get(later_keys.findings(JOB)).data)
    assert len(kept["decisions"]) == 3


@pytest.mark.usefixtures("unsaid")
def test_what_was_said_stays_with_a_report_that_is_written_anew(web, job, storage):
    before = web.ask("GET", f"{job}/findings").json["findings"][0]
    web.ask("PUT", f"{job}/findings/{before['id']}", {"verdict": "confirmed"})
    record = Reporter(storage, no_pictures).record(JOB)
    write_report(storage, record)
    after = web.ask("GET", f"{job}/findings").json["findings"][0]
    assert (after["id"], after["verdict"]) == (before["id"], "confirmed")


@pytest.mark.usefixtures("unsaid")
def test_all_that_people_say_at_once_is_kept(storage, job):
    def say(number):
        made = Decision(finding="0" * 16, verdict="confirmed", by=f"p{number}", at=float(number))
        findings.decide(storage, JOB, made)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(say, range(12)))
    said = findings.read_decisions(storage, JOB).decisions
    assert {one.by for one in said} == {f"p{number}" for number in range(12)}


@pytest.mark.usefixtures("unsaid")
@pytest.mark.parametrize(
    ("finding", "body", "status"),
    [
        ("0" * 16, {"verdict": "confirmed"}, 404),
        ("..%2F..%2Fjob.json", {"verdict": "confirmed"}, 404),
        (None, {"verdict": "true"}, 422),
        (None, {"verdict": "confirmed", "note": "x" * 1001}, 422),
        (None, {"verdict": "confirmed", "by": "somebody else"}, 422),
        (None, {}, 422),
    ],
    ids=str,
)
def test_what_is_no_decision_is_refused(web, job, storage, finding, body, status):
    finding = finding or web.ask("GET", f"{job}/findings").json["findings"][0]["id"]
    assert web.ask("PUT", f"{job}/findings/{finding}", body).status == status
    assert not storage.exists(later_keys.findings(JOB))


@pytest.mark.usefixtures("unsaid")
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"schema_version": 2, "job_id": "another", "decisions": []}']
)
def test_what_no_gateway_wrote_is_said_and_not_overwritten(web, job, storage, data):
    found = web.ask("GET", f"{job}/findings").json["findings"][0]["id"]
    storage.put(later_keys.findings(JOB), data, "application/json")
    assert web.ask("GET", f"{job}/findings").status == 422
    assert web.ask("PUT", f"{job}/findings/{found}", {"verdict": "open"}).status == 422
    assert storage.get(later_keys.findings(JOB)).data == data


@pytest.mark.usefixtures("unsaid")
def test_more_than_is_kept_is_refused(storage, job, monkeypatch):
    monkeypatch.setattr(findings, "MOST_DECISIONS", 2)
    said = Decision(finding="0" * 16, verdict="open", by="a", at=1.0)
    findings.decide(storage, JOB, said)
    findings.decide(storage, JOB, said)
    with pytest.raises(InvalidRequest, match="2 decisions"):
        findings.decide(storage, JOB, said)


@pytest.mark.usefixtures("unsaid")
def test_what_nobody_could_read_any_more_is_refused_and_all_before_is_read(storage, job):
    one = Decision(finding="0" * 16, verdict="open", by="a", at=1.0, note="\0" * 1000)

    def document(count):
        made = Findings(schema_version=2, job_id=JOB, decisions=(one,) * count)
        return encode_json(sealed(made, 2))

    size = len(document(2)) - len(document(1))
    most = (objects.MOST_JSON - len(document(0))) // size
    storage.put(later_keys.findings(JOB), document(most - 1), "application/json")
    findings.decide(storage, JOB, one)
    with pytest.raises(InvalidRequest, match=r"notes have as many bytes as are kept: say it in"):
        findings.decide(storage, JOB, one)
    assert len(findings.read_decisions(storage, JOB).decisions) == most


def test_a_report_that_runs_scripts_would_run_none(web, job, storage):
    """What lies in the bucket may be somebody else's."""
    place = f"{keys.report_folder(JOB)}index.html"
    before = storage.get(place).data
    storage.put(place, b"<script>alert(1)</script>", "text/html")
    try:
        served = web.ask("GET", f"{job}/report/index.html")
        rules = served.headers["content-security-policy"].split("; ")
        assert rules[:2] == ["sandbox", "default-src 'none'"]
        assert "frame-ancestors 'self'" in rules
        assert not [rule for rule in rules if rule.startswith("script-src")]
        assert served.headers["x-content-type-options"] == "nosniff"
    finally:
        storage.put(place, before, "text/html")


def test_a_file_larger_than_any_report_is_not_served(web, job, storage):
    place = f"{keys.report_folder(JOB)}classes.parquet"
    before = storage.get(place).data
    storage.put(place, bytes(2**26 + 1), "text/html")
    try:
        assert web.ask("GET", f"{job}/report/classes.parquet").status == 404
    finally:
        storage.put(place, before, "text/html")
