"""The Python client against a real worker process."""

import threading

import pytest

from camfleet import Client, Status
from camfleet.contract.messages import EXPLAIN_TASK, INTERACTIVE_QUEUE
from camfleet.errors import AnswerTimeout, ImageUnreadable, InvalidRequest, UnknownModel

pytestmark = pytest.mark.usefixtures("model")


def test_an_answer_is_typed(client, photos):
    answer = client.explain(str(photos[0]), model="patches", target="top:2")
    first, second = answer.result(timeout=30)
    assert answer.ready()
    assert (first.class_name, first.status, first.rank) == ("bright", Status.OK, 0)
    assert (second.class_name, second.status) == ("dark", Status.NO_EVIDENCE)
    assert client.storage.get(first.overlay_uri).data[:2] == b"\xff\xd8"


def test_failures_come_back_as_the_contracts_own_errors(client, folder):
    (folder / "text.png").write_text("not an image")
    with pytest.raises(ImageUnreadable, match=r"text\.png"):
        client.explain(str(folder / "text.png"), model="patches").result(timeout=30)
    with pytest.raises(UnknownModel, match="nothing"):
        client.explain("s3://a/b", model="nothing").result(timeout=30)


def test_a_wrong_request_is_refused_before_it_is_sent(client):
    with pytest.raises(InvalidRequest, match="method"):
        client.explain("s3://a/b", model="patches", method="guess")
    with pytest.raises(InvalidRequest, match="top:K"):
        client.explain("s3://a/b", model="patches", target="top:many")


def test_a_foreign_message_is_refused_by_the_worker_by_field(client):
    pending = client._app.send_task(
        EXPLAIN_TASK, kwargs={"request": {"image": "a"}}, queue=INTERACTIVE_QUEUE
    )
    reply = pending.get(timeout=30)
    assert reply["error"]["code"] == "invalid_request"
    assert "image" in reply["error"]["message"]


def test_a_watched_job_ends_with_its_totals(client, photos):
    job = client.submit([str(photos[0].parent)], models=["patches"])
    *_, last = job.watch(timeout=60)
    assert last.complete
    assert (last.ok, last.total) == (9, 9)
    assert len(list(job.results())) == 9


def test_a_model_is_built_once_for_threads_that_ask_at_the_same_time(client, photos, worker, model):
    def ask():
        client.explain(str(photos[1]), model="patches", layer="conv").result(timeout=60)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        worker.read_text().count("built ModelKey(digest='" + model.digest + "', layer='conv'") == 1
    )


def test_an_answer_that_does_not_come_says_whether_a_worker_lives(client, photos, environ):
    with pytest.raises(AnswerTimeout, match=r"1 worker\(s\) answer a ping"):
        client.explain(str(photos[0]), model="patches").result(timeout=1e-6)
    other = {**environ, "CAMFLEET_REDIS_URL": environ["CAMFLEET_REDIS_URL"].replace("/0", "/7")}
    with Client.from_environ(other) as lonely:
        answer = lonely.explain(str(photos[0]), model="patches")
        with pytest.raises(AnswerTimeout, match="no worker answers a ping: start one with"):
            answer.result(timeout=0.2)


def test_closing_one_client_leaves_the_others_of_the_process_alone(client, worker_environ, photos):
    for _ in range(3):
        with Client.from_environ(worker_environ) as other:
            other.explain(str(photos[0]), model="patches").result(timeout=30)
        client.explain(str(photos[0]), model="patches").result(timeout=30)
