"""The Python client against a real worker process."""

import hashlib
import io
import threading
from dataclasses import replace

import pytest

from camfleet import Client, Item, Status
from camfleet.broker.requests import HeldRequest
from camfleet.contract.messages import EXPLAIN_TASK, INTERACTIVE_QUEUE
from camfleet.errors import AnswerTimeout, ImageUnreadable, InvalidRequest, UnknownModel
from helpers.databases import environ_on

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


def test_a_fusion_of_the_one_layer_of_a_card_is_refused_not_ignored(client, model, photos):
    with pytest.raises(InvalidRequest, match=r"fuse does nothing .* the card of patches@\S+ names"):
        client.explain(photos[0], model="patches", fuse="max").result(timeout=30)
    with pytest.raises(InvalidRequest, match=r"fuse does nothing .*\(force=True\)"):
        client.submit(str(photos[0]), models="patches", fuse="max")


def test_a_foreign_message_is_refused_by_the_worker_by_field(client):
    foreign = HeldRequest(
        id="foreign",
        task=EXPLAIN_TASK,
        request={"request": {"image": "a"}},
        queue=INTERACTIVE_QUEUE,
        attempt=0,
    )
    client._sender.send(foreign)
    reply = client._rpc.wait_for("foreign", 30, "a foreign message")
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
    with Client.from_environ(environ_on(environ, 7)) as lonely:
        answer = lonely.explain(str(photos[0]), model="patches")
        with pytest.raises(AnswerTimeout, match="no worker answers a ping: start one with"):
            answer.result(timeout=0.2)


def test_closing_one_client_leaves_the_others_of_the_process_alone(client, worker_environ, photos):
    for _ in range(3):
        with Client.from_environ(worker_environ) as other:
            other.explain(str(photos[0]), model="patches").result(timeout=30)
        client.explain(str(photos[0]), model="patches").result(timeout=30)


def test_an_image_may_be_bytes_or_an_open_file(client, photos, folder):
    data = photos[0].read_bytes()
    with photos[0].open("rb") as file:
        answers = [
            client.explain(image, model="patches")
            for image in (data, bytearray(data), memoryview(data), io.BytesIO(data), file)
        ]
    digest = hashlib.sha256(data).hexdigest()
    for answer in answers:
        assert answer.image_uri == f"s3://{client.storage.bucket}/uploads/{digest}.png"
        assert answer.result(timeout=30)[0].class_name == "bright"
    (result,) = client.explain(photos[0], model="patches").result(timeout=30)
    assert result.image_uri == str(photos[0]), "a path stays a path"


def test_what_is_written_and_derived_is_said_by_keywords(client, photos, model):
    (result,) = client.explain(
        photos[0],
        model=model,
        target=0,
        shapes=["box", "rle"],
        threshold=0.3,
        components="all",
        pictures="overlay",
        opacity=1,
    ).result(timeout=30)
    assert (result.class_name, result.heatmap_uri) == ("bright", None)
    assert client.storage.exists(result.overlay_uri)
    assert result.regions[0].rle


def test_a_job_takes_the_same_words_as_an_image(client, photos, model):
    source = [photos[0], str(photos[1]), item(photos[2])]
    words = {"pictures": [], "shapes": "box", "threshold": "otsu", "target": "bright"}
    found = client.dry_run(source, models=model, timeout=60, **words)
    assert (found.passed, found.items, found.models) == (True, 3, ("patches@1",))
    job = client.submit(source, models=model, **words)
    assert job.wait(timeout=180).ok == 3
    assert [len(row.regions) for row in job.results()] == [1, 1, 1]
    assert [row.item_id for row in job.results()] == [str(photos[0]), str(photos[1]), "third"]
    assert {row.heatmap_uri for row in job.results()} == {None}


def item(path):
    return Item(item_id="third", image_uri=str(path), target=None, inputs=None)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (3, "image is of type int: give a path, a URI, bytes, or a file opened with 'rb'"),
        (None, "image is of type NoneType"),
        (io.StringIO("text"), "image is a file opened as text: open it with 'rb'"),
    ],
)
def test_what_is_no_image_is_named_with_the_way_out(client, image, message):
    with pytest.raises(TypeError, match=message):
        client.explain(image, model="patches")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            b"image",
            r"something of type bytes: client.upload\(...\) puts it into the bucket",
        ),
        (
            [io.BytesIO(b"image")],
            r"source is or holds something of type BytesIO: client.upload\(...\)",
        ),
        ({"a.png": 1}, "source is or holds something of type dict: give strings, paths or Items"),
        ([3], "source is or holds something of type int: give strings"),
        (3, "source is or holds something of type int"),
    ],
)
def test_what_is_no_source_is_named_with_the_way_out(client, source, message):
    with pytest.raises(TypeError, match=message):
        client.submit(source, models="patches")


def test_wrong_arguments_are_named_with_the_way_out(client, photos):
    with pytest.raises(InvalidRequest, match="image has no bytes"):
        client.explain(b"", model="patches")
    with pytest.raises(InvalidRequest, match="image is empty"):
        client.explain("", model="patches")
    with pytest.raises(TypeError, match="model is of type int: give an id such as"):
        client.explain(photos[0], model=3)
    with pytest.raises(TypeError, match="models is of type int"):
        client.submit(photos[0], models=3)
    with pytest.raises(InvalidRequest, match="at least one model"):
        client.submit(photos[0], models=[])
    with pytest.raises(TypeError, match="inputs is not a dict of numbers"):
        client.explain(photos[0], model="patches", inputs={"age": object()})
    with pytest.raises(TypeError, match="no keyword treshold: did you mean threshold"):
        client.submit(photos[0], models="patches", treshold=0.5)
    with pytest.raises(TypeError, match=r"Client.from_environ\(\) reads them"):
        Client("redis://localhost")


def test_handles_say_what_they_are_without_asking_anybody(settings):
    away = replace(settings, redis_url="redis://127.0.0.1:9/0", s3_endpoint="http://127.0.0.1:9")
    with Client(away) as client:
        assert repr(client) == "Client(bucket='camfleet')"
        assert repr(client.job("some")) == "Job('some', bucket='camfleet')"


def test_an_answer_says_what_was_asked(client, photos):
    answer = client.explain(photos[0], model="patches", target="top:2")
    assert repr(answer) == (
        f"Answer(image_uri={str(photos[0])!r}, model='patches', target='top:2', id={answer.id!r})"
    )
    answer.result(timeout=30)
