"""What tells one request for a job over HTTP from another: all that it says."""

import json
from itertools import combinations

import msgspec

from camfleet.gateway.endpoints.jobs import JobRequest, _digest

A, B = {"image": "s3://a/b.jpg"}, {"image": "s3://a/c.jpg"}


def digest(said, **how):
    text = json.dumps({"models": "net", **said}, **how)
    return _digest(msgspec.json.decode(text, type=JobRequest))


def test_requests_that_say_other_things_are_told_apart():
    different = [
        {"source": "s3://a/b.jpg"},
        {"source": "s3://a/c.jpg"},
        {"images": [A]},
        {"images": [A, B]},
        {"images": [B, A]},
        {"images": [A, A]},
        {"images": [{**A, "inputs": {"x": 1}}, B]},
        {"images": [A, {**B, "inputs": {"x": 1}}]},
        {"images": [A, {**B, "inputs": {"x": 2}}]},
        {"images": [A, {**B, "inputs": {"x": [2]}}]},
        {"images": [A, B], "layer": "relu"},
        {"images": [A, B], "models": ["net"]},
    ]
    for one, other in combinations(different, 2):
        assert digest(one) != digest(other), (one, other)


def test_the_same_request_is_recognized_however_it_is_written():
    said = {"images": [{**A, "inputs": {"x": 1, "y": [2, 3]}}], "layer": "relu"}
    swapped = {"layer": "relu", "images": [{"inputs": {"y": [2.0, 3e0], "x": 1.0}, **A}]}
    assert digest(said) == digest(swapped, indent=4)
