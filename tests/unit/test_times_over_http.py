"""Times over HTTP: all of them are ISO 8601 in UTC, whatever the records behind them have."""

from datetime import UTC, datetime

import msgspec
import pytest

from camfleet.contract import findings, reviews
from camfleet.contract.times import Seconds, Time, time_of
from camfleet.gateway import told
from camfleet.gateway.app import DESCRIPTION
from helpers.worker_states import worker_state

SCHEMAS = DESCRIPTION["components"]["schemas"]
SECONDS = msgspec.json.schema(Seconds)
TIME = msgspec.json.schema(Time)
AT = 1_795_960_635.25
TEXT = "2026-11-29T13:57:15.250000Z"


def kinds(schema):
    """Return the schemas that a property may have, without null."""
    every = schema.get("anyOf", [schema])
    return [
        {name: value for name, value in one.items() if name != "default"}
        for one in every
        if one.get("type") != "null"
    ]


PROPERTIES = [
    (f"{kind}.{name}", schema)
    for kind, found in SCHEMAS.items()
    for name, schema in found.get("properties", {}).items()
]


def test_no_answer_has_seconds_since_the_epoch():
    assert [name for name, schema in PROPERTIES if SECONDS in kinds(schema)] == []


def test_what_is_called_a_time_is_described_as_one():
    times = [
        (name, schema)
        for name, schema in PROPERTIES
        if name.endswith(("_at", ".at", ".due", "State.last"))
    ]
    assert len(times) > 15
    assert [name for name, schema in times if kinds(schema) != [TIME]] == []


def test_a_record_is_told_with_the_same_time_also_within():
    trouble = reviews.Trouble(reason="no worker", at=AT, attempts=1, run=None)
    state = reviews.ReviewState(schema_version=2, name="weekly", last=AT, run=None, trouble=trouble)
    plain = msgspec.to_builtins(told.told(state, told.ReviewState))
    assert (plain["last"], plain["trouble"]["at"]) == (TEXT, TEXT)
    assert plain["trouble"]["reason"] == "no worker"
    said = findings.Decision(finding="0" * 16, verdict="open", by="ann", at=AT, note="null")
    assert msgspec.to_builtins(told.told(said, told.Decision)) == {
        **msgspec.to_builtins(said),
        "at": TEXT,
    }


def test_a_worker_of_another_version_is_told_too():
    found = msgspec.to_builtins(told.told(worker_state(started_at=AT), told.Worker))
    assert (found["started_at"], found["version"]) == (TEXT, None)


@pytest.mark.parametrize(
    ("seconds", "expect"),
    [(0, datetime(1970, 1, 1, tzinfo=UTC)), (-5, datetime(1970, 1, 1, tzinfo=UTC))],
)
def test_a_time_is_in_utc(seconds, expect):
    assert time_of(seconds) == expect


@pytest.mark.parametrize("seconds", [1e12, 1e300, float("inf"), float("nan")])
def test_what_no_clock_wrote_is_a_time_all_the_same(seconds):
    assert time_of(seconds).tzinfo is UTC
