"""Large selections are decoded by a process of their own, whatever they hold."""

import json

import pytest

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest
from camfleet.exports.label_config import parse_config
from camfleet.gateway.endpoints.label_studio import bodies
from camfleet.gateway.label_studio import reduced, words
from camfleet.gateway.problems import Problem

CONFIG = '<View><Image name="i" value="$photo"/><Choices name="c" toName="i"/></View>'


@pytest.fixture
def decoded(tmp_path):
    def decode(body):
        path = tmp_path / "selection"
        path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return bodies._decoded(path)

    return decode


def test_of_a_selection_come_its_head_and_of_each_task_what_names_its_image(decoded):
    values = [
        *(f"s3://b/{n}.jpg" for n in range(2500)),
        None,
        ["a"],
        1.5,
        "x" * 10_000,
        "é\u2028\n",
    ]
    tasks = [
        {"id": n, "data": {"photo": value, "more": {"a": [1]}}, "predictions": [{"result": []}]}
        for n, value in enumerate(values)
    ]
    body = {"tasks": [*tasks, {}, {"data": {"other": 1}}], "project": "7.5", "label_config": CONFIG}
    found = decoded(body)
    assert (found.project_id, found.label_config) == (7, CONFIG)
    kept = [value[: LONGEST + 1] if isinstance(value, str) else None for value in values]
    assert found.tasks == [
        *(words.Task(id=n, data={"photo": value}) for n, value in enumerate(kept)),
        words.Task(),
        words.Task(),
    ]


def test_parts_of_an_address_come_by_their_names_wherever_they_lie(decoded):
    config = CONFIG.replace("$photo", "http://x/$meta.host/$id?v=$photo")
    tasks = [
        {"id": 1, "data": {"meta": {"host": "h", "more": [[]]}, "id": 5, "photo": "p"}},
        {"id": 2, "data": {"meta": "h", "id": [5], "photo": "p" * 10_000}},
    ]
    found = decoded({"tasks": tasks, "label_config": config}).tasks
    assert found[0] == words.Task(id=1, data={"meta.host": "h", "id": 5, "photo": "p"})
    assert found[1] == words.Task(id=2, data={"id": None, "photo": "p" * (LONGEST + 1)})
    assert parse_config(config).value.place(found[0].data) == "http://x/h/5?v=p"


@pytest.mark.parametrize("config", ["", "<View>", "x" * (2**20 + 5)])
def test_a_label_config_that_is_none_comes_along_for_the_gateway_to_refuse(decoded, config):
    found = decoded({"tasks": [{"id": 1, "data": {"photo": "a"}}], "label_config": config})
    assert found.label_config == config[: 2**20 + 1]
    assert found.tasks == [words.Task(id=1)]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"tasks": 1}', b'{"tasks": [{"id": "a"}]}', b"\xff", b"[" * 10**6]
)
def test_what_is_no_selection_is_refused(decoded, body):
    with pytest.raises(InvalidRequest, match="the body: "):
        decoded(body)


@pytest.mark.parametrize("count", [reduced.MOST_TASKS + 1, 2**24])
def test_of_too_many_tasks_nothing_is_made_and_no_memory_taken(decoded, count):
    with pytest.raises(Problem) as refused:
        decoded(b'{"tasks":[' + b",".join([b"{}"] * count) + b"]}")
    assert (refused.value.status, refused.value.code) == (413, "body_too_large")
