"""What Celery gets to see of a message: what camfleet's programs write, and nothing else."""

import base64
import json

import pytest

from camfleet_worker.process import envelope
from camfleet_worker.process.envelope import ForgedMessage
from camfleet_worker.process.forgeries import COMMANDS
from helpers import forged_messages as forged
from helpers.forged_messages import CHUNKS, QUESTIONS, body, chunk, command, question


def read(text, queue=QUESTIONS):
    raw = text.decode(errors="replace") if isinstance(text, bytes) else text
    return envelope.task_message(envelope.load(raw), queue)


def inside(message):
    return json.loads(base64.b64decode(message["body"]))


def test_a_message_is_written_anew_with_its_own_queue_and_a_tag_of_its_own():
    wrong = {"exchange": "elsewhere", "routing_key": "camfleet:leases", "redelivered": True}
    text = question(
        body(words={"request": {"image_uri": "ä", "alpha": 0.5}}),
        headers__camfleet_attempt=2,
        headers__camfleet_sent=1.5,
        headers__x="y",
        properties__delivery_info=wrong,
        properties__priority=9,
    )
    first, second = read(text), read(text)
    assert inside(first) == [
        [],
        {"request": {"image_uri": "ä", "alpha": 0.5}},
        dict.fromkeys(("callbacks", "errbacks", "chain", "chord")),
    ]
    headers = {"lang": "py", "task": "camfleet.explain", "id": "forged", "root_id": "forged"}
    times = {"camfleet_attempt": 2, "camfleet_sent": 1.5}
    assert first["headers"] == {**headers, "ignore_result": None, **times}
    tags = {made["properties"].pop("delivery_tag") for made in (first, second)}
    assert len(tags) == 2
    assert "forged-tag" not in tags
    assert first["properties"] == {
        "correlation_id": "forged",
        "delivery_info": {"exchange": "", "routing_key": QUESTIONS, "redelivered": True},
        "priority": 0,
        "body_encoding": "base64",
    }


def test_a_message_that_was_written_anew_is_one_again():
    once = read(chunk(), CHUNKS)
    twice = read(json.dumps(once), CHUNKS)
    for made in (once, twice):
        made["properties"].pop("delivery_tag")
    assert once == twice


@pytest.mark.parametrize(
    ("queue", "messages"), [(QUESTIONS, forged.DROPPED_QUESTIONS), (CHUNKS, forged.DROPPED_CHUNKS)]
)
def test_whatever_else_is_refused_without_a_quotation(queue, messages):
    for name, message in messages.items():
        with pytest.raises(ForgedMessage) as caught:
            read(message, queue)
        said = str(caught.value)
        assert forged.SECRET not in said, name
        assert len(said) < 300, name
        assert "\n" not in said, name


def test_a_study_waits_among_chunks_and_takes_no_slot_of_questions():
    text = question(headers__task="camfleet.study")
    assert read(text, CHUNKS)["headers"]["task"] == "camfleet.study"
    with pytest.raises(ForgedMessage):
        read(text, QUESTIONS)


def test_an_unknown_queue_takes_the_tasks_of_all():
    for message in (question(), chunk()):
        assert read(message, "a queue of the operator's")


def test_what_can_be_put_back_may_be_anybodys():
    others = {"headers": {"task": "theirs"}, "properties": {}, "body": 5}
    envelope.check_restorable(json.dumps([others, "their.exchange", "their.queue"]))
    for name, entry in forged.UNACKED.items():
        if name != "a forged message":  # which is refused when it's read
            with pytest.raises(ForgedMessage):
                envelope.check_restorable(entry)


def test_a_command_keeps_what_it_asks_and_where_its_answer_goes():
    reply_to = {"exchange": "reply.celery.pidbox", "routing_key": "an-id"}
    text = command("stats", destination=["celery@a"], reply_to=reply_to, ticket="t")
    made = envelope.control_message(envelope.load(text), COMMANDS)
    asked = inside(made)
    assert asked["destination"] == ["celery@a"]
    assert (asked["method"], asked["reply_to"], asked["ticket"]) == ("stats", reply_to, "t")
