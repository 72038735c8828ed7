"""What is written to Label Studio is there once, whatever gets lost; its errors say what to set."""

from http.server import BaseHTTPRequestHandler

import msgspec
import pytest

from camfleet.errors import (
    ConfigurationError,
    ImageNotFound,
    InvalidRequest,
    ServiceError,
    SourceForbidden,
)
from camfleet.exports.image_value import ImageValue
from camfleet.exports.images import Failure, Image
from camfleet.label_studio.api import Api
from camfleet.label_studio.connection import LabelStudioUnavailable
from camfleet.label_studio.patience import NONE, Patience
from camfleet.label_studio.pushing import Pusher
from camfleet.label_studio.writing import SLICE, Batch, PredictionWriter
from camfleet_worker.sources.label_studio import LabelStudioReader
from helpers.label_studio_standin import PERSONAL, TOKEN, standin
from helpers.loopback import LoopbackServer, served

VERSION = "net@1 gradcam auto 0.5 box"
PREDICTION = {"model_version": VERSION, "score": 0.9, "result": [{"id": "class"}]}


@pytest.fixture
def studio():
    with standin() as server:
        yield server


@pytest.fixture
def api(studio):
    return Api(studio.url, TOKEN)


def write(api, ids, **more):
    writer = PredictionWriter(api, 1, VERSION, **more)
    writer.write((number, PREDICTION) for number in ids)
    writer.finish()
    return writer.count


def image(number, place=None):
    place = place or f"s3://b/{number}.png"
    return Image(str(number), place, "name", place, 10, 10, ())


def test_predictions_are_written_in_slices_and_not_again(studio, api):
    ids = studio.add(*map(str, range(2 * SLICE + 1)))
    count = write(api, ids)
    assert (count.written, count.there) == (len(ids), 0)
    assert sum(verb == "POST" for verb, _ in studio.asked) == 3
    assert write(api, ids).there == len(ids)
    assert all(studio.versions(number) == [VERSION] for number in ids)


def test_an_answer_that_gets_lost_writes_nothing_twice(studio, api):
    ids = studio.add(*map(str, range(SLICE + 50)))
    studio.cut_off = 1
    with pytest.raises(LabelStudioUnavailable):
        write(api, ids)
    assert len(studio.predictions) == SLICE  # they were stored, and nobody was told
    count = write(api, ids)
    assert (count.there, count.written) == (SLICE, 50)
    assert all(studio.versions(number) == [VERSION] for number in ids)


def test_a_version_that_only_begins_alike_is_another(studio, api):
    (number,) = studio.add("a")
    studio.predict(number, {**PREDICTION, "model_version": f"{VERSION}5"})
    assert write(api, [number]).written == 1


def test_a_task_of_so_many_versions_that_the_list_is_cut_off_is_asked_itself(studio, api):
    (number,) = studio.add("a")
    for other in range(40):
        studio.predict(number, {**PREDICTION, "model_version": f"{VERSION} and {other}"})
    studio.predict(number, PREDICTION)
    assert write(api, [number]).there == 1


def test_what_two_writers_wrote_at_once_is_taken_out_but_for_the_oldest(studio, api):
    ids = studio.add("a", "b", "c")
    for number in (ids[0], ids[0], ids[1]):
        studio.predict(number, PREDICTION)
    studio.predict(ids[0], {**PREDICTION, "model_version": "another"})
    oldest = studio.predictions[0]["id"]
    assert write(api, ids).doubled == 1
    assert studio.versions(ids[0]) == [VERSION, "another"]
    assert studio.predictions[0]["id"] == oldest


def test_tasks_that_were_deleted_meanwhile_keep_nobody_from_theirs(studio, api):
    ids = studio.add("a", "b", "c")
    del studio.tasks[ids[1]]
    count = write(api, ids)
    assert (count.written, count.gone) == (2, 1)


def test_who_must_end_ends_before_the_next_request(studio, api):
    class EndsNow(Exception):
        pass

    def check():
        if any(verb == "POST" for verb, _ in studio.asked):
            raise EndsNow

    ids = studio.add(*map(str, range(2 * SLICE)))
    with pytest.raises(EndsNow):
        write(api, ids, check=check)
    assert len(studio.predictions) == SLICE


def test_a_personal_token_is_good_too(studio):
    studio.add("a")
    assert Api(studio.url, PERSONAL).project(1).task_number == 1


@pytest.mark.parametrize("secret", ["b" * 40, "eyJ.not.ours", "a b", "a\nb"])
def test_a_token_that_is_refused_is_named_by_its_setting_and_never_shown(studio, secret):
    with pytest.raises(ConfigurationError, match="CAMFLEET_LABEL_STUDIO_TOKEN") as caught:
        Api(studio.url, secret).project(1)
    assert secret not in str(caught.value)


def test_errors_say_what_and_where(studio, api):
    with pytest.raises(InvalidRequest, match="there's no such project"):
        api.project(9)
    studio.away = 1
    with pytest.raises(LabelStudioUnavailable, match="answers 503"):
        api.project(1)
    with pytest.raises(InvalidRequest, match="task ID 999999 - task not found"):
        api.import_predictions(1, [{"task": 5, **PREDICTION}])
    with pytest.raises(LabelStudioUnavailable, match="doesn't answer"):
        Api("http://127.0.0.1:1", TOKEN).project(1)
    with pytest.raises(ConfigurationError, match=r"no token.*CAMFLEET_LABEL_STUDIO_TOKEN"):
        Api(studio.url, "").project(1)


class Ending(BaseHTTPRequestHandler):
    """Answers once on a connection, and ends it without a word, as Django's server does."""

    protocol_version = "HTTP/1.1"
    answered = False

    def do_GET(self):
        self.close_connection = self.answered
        if not self.answered:
            self.answered = True
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")


def test_no_connection_is_kept_because_the_server_ends_it_without_saying_so():
    with served(LoopbackServer(Ending)) as server:
        api = Api(server.url, TOKEN)
        assert [api.project(1).title for _ in range(3)] == [None] * 3


def push(api, found, *, value="$image", patience=NONE):
    pusher = Pusher(api, 1, ImageValue(value), VERSION, patience=patience)
    pusher.look()
    pusher.push(found)
    return pusher.pushed


def numbers(first, last):
    return [(image(number), PREDICTION) for number in range(first, last)]


def check_once(studio, count):
    """Say that the project has so many tasks, of as many images, with a prediction each."""
    assert len(studio.tasks) == count
    assert len({data["image"] for data in studio.tasks.values()}) == count
    assert all(studio.versions(number) == [VERSION] for number in studio.tasks)


def test_a_push_that_was_cut_off_goes_on_where_it_ended(studio, api):
    found = [(image(number), PREDICTION) for number in range(1200)]
    studio.add("s3://b/3.png")
    studio.cut_off = 1
    with pytest.raises(LabelStudioUnavailable):
        push(api, found)
    pushed = push(api, found)
    assert (pushed.made, pushed.written, pushed.there) == (699, 1, 500)
    assert len(studio.tasks) == 1200
    assert all(studio.versions(number) == [VERSION] for number in studio.tasks)
    studio.asked.clear()
    assert push(api, found).there == 1200
    assert len(studio.asked) == 1 + 2 * 3  # the project, its tasks by the version, and all


@pytest.mark.parametrize(
    ("value", "data"),
    [("s3://b/$file", {"file": "{}.png"}), ("$at.uri", {"at": {"uri": "s3://b/{}.png"}})],
)
def test_images_of_which_tasks_have_a_part_or_which_lie_deeper_are_known_again(
    studio, api, value, data
):
    def made(number):
        return msgspec.json.decode(msgspec.json.encode(data).replace(b"{}", str(number).encode()))

    studio.tasks |= {1: made(3), 2: {"other": "s3://b/4.png"}}
    studio.cut_off = 1
    with pytest.raises(LabelStudioUnavailable):
        push(api, numbers(0, 700), value=value)
    pushed = push(api, numbers(0, 700), value=value)
    assert (pushed.made, pushed.written, pushed.there) == (199, 1, 500)
    assert len(studio.tasks) == 701
    own = {number: task for number, task in studio.tasks.items() if number > 2}
    assert list(own.values()) == [
        made(number) | {"camfleet_item": str(number)} for number in range(700) if number != 3
    ]


@pytest.mark.parametrize("trouble", [500, 429, 503, "cut off", "half"])
def test_a_push_goes_on_once_the_server_can_again(studio, api, trouble):
    studio.add(*(f"s3://b/{number}.png" for number in range(0, 1200, 3)))
    studio.troubles = [trouble, None, trouble, trouble, None, trouble]
    told = []
    patience = Patience(lambda _error, seconds: told.append(seconds), waits=(0.01, 0.02, 0.04))
    pushed = push(api, numbers(0, 1200), patience=patience)
    assert (pushed.made, pushed.written, pushed.there, pushed.doubled) == (800, 400, 0, 0)
    check_once(studio, 1200)
    assert min(told) == (1.0 if trouble == 429 else 0.01)  # what Retry-After says


def test_a_push_gives_up_after_some_tries_and_goes_on_when_it_is_repeated(studio, api):
    studio.troubles = [None, 500, 500, "cut off"]
    with pytest.raises(ServiceError):
        push(api, numbers(0, 1200), patience=Patience(waits=(0, 0)))
    assert len(studio.tasks) == 1000
    pushed = push(api, numbers(0, 1200))
    assert (pushed.made, pushed.there) == (200, 1000)
    check_once(studio, 1200)


@pytest.mark.parametrize("waits", [(), (0,)])
def test_what_a_killed_push_had_sent_is_there_once_even_if_it_is_stored_late(studio, api, waits):
    """The server goes on with a slice while the push that is repeated sends it again."""
    studio.add("s3://b/0.png")
    studio.tasks[1]["camfleet_item"] = "0"  # by hand, twice
    studio.add("s3://b/0.png")
    studio.tasks[2]["camfleet_item"] = "0"
    studio.troubles = ["late"]
    if not waits:
        with pytest.raises(LabelStudioUnavailable):
            push(api, numbers(1, 700))
    pushed = push(api, numbers(1, 700), patience=Patience(waits=waits))
    assert (pushed.made, pushed.doubled) == (699, 500)
    assert len({data["image"] for data in studio.tasks.values()}) == 700
    assert len(studio.tasks) == 701  # what wasn't pushed twice isn't touched
    assert all(studio.versions(number) == [VERSION] for number in list(studio.tasks)[2:])


def test_two_pushes_at_once_leave_one_task_of_each(studio, api):
    one, two = (Pusher(api, 1, ImageValue("$image"), VERSION) for _ in range(2))
    one.look()
    two.look()

    def meanwhile():
        yield from numbers(0, 600)  # the first 500 of which are made by now
        two.push(numbers(0, 600))

    one.push(meanwhile())
    assert (one.pushed.made, two.pushed.made) == (600, 600)
    assert one.pushed.doubled + two.pushed.doubled == 600
    check_once(studio, 600)


def test_a_twin_that_somebody_has_annotated_stays(studio, api):
    studio.troubles = ["late"]
    with pytest.raises(LabelStudioUnavailable):
        push(api, numbers(0, 3))
    studio.annotated = {2, 5}  # 1 to 3 are made by the next push, then the late ones
    assert push(api, numbers(0, 3)).doubled == 2
    assert sorted(studio.tasks) == [1, 2, 3, 5]


def test_tasks_of_odd_data_are_looked_at_and_left_alone(studio, api):
    studio.add("s3://b/1.png", ["s3://b/1.png"], None, 7)
    assert push(api, numbers(1, 3)).made == 1
    assert len(studio.tasks) == 5


def test_items_of_one_image_have_a_task_each(studio, api):
    found = [(image(number, "s3://b/same.png"), PREDICTION) for number in range(3)]
    assert push(api, found).made == 3
    assert push(api, found).there == 3
    assert sorted(data["camfleet_item"] for data in studio.tasks.values()) == ["0", "1", "2"]


def test_failed_images_are_counted_and_make_no_task(studio, api):
    pushed = push(api, [(Failure("1", "s3://b/1", "gone", "why"), None), (image(2), None)])
    assert (pushed.failed, pushed.made) == (1, 1)
    assert not studio.predictions


def test_a_batch_is_bounded_by_bytes_too():
    batch = Batch(10, 100)
    assert batch.add("a" * 90) == []
    assert batch.add("b" * 200) == ["a" * 90]
    assert batch.add("c") == ["b" * 200]
    assert batch.rest() == ["c"]
    assert batch.rest() == []


class Web:
    """Reads what isn't Label Studio's."""

    def __init__(self):
        self.read_uris = []

    def read(self, uri, _limit):
        self.read_uris.append(uri)
        return b"elsewhere", None


@pytest.mark.parametrize("prefix", ["", "/labels"])
def test_images_are_read_with_the_token_below_a_prefix_too(prefix):
    with standin(prefix) as studio:
        studio.files = {"/data/upload/1/a b.png": b"", "/data/local-files/?d=x/a.png": b"two"}
        studio.files["/data/upload/1/a.png"] = b"one"
        reader = LabelStudioReader(Api(studio.url, TOKEN), Web(), 20)
        assert reader.read(f"{studio.url}/data/upload/1/a.png", 9) == (b"one", None)
        assert reader.read(f"{studio.url}/data/local-files/?d=x/a.png", 9)[0] == b"two"
        with pytest.raises(ImageNotFound):
            reader.read(f"{studio.url}/data/upload/1/none.png", 9)


def test_a_redirect_leads_out_without_the_token(studio, api):
    web = Web()
    reader = LabelStudioReader(api, web, 20)
    studio.redirect = "http://127.0.0.1:1/bucket/a.png?sign=1"
    assert reader.read(f"{studio.url}/data/upload/1/a.png", 9) == (b"elsewhere", None)
    studio.redirect = "/user/login/?next=/data/upload/1/a.png"
    with pytest.raises(SourceForbidden, match="CAMFLEET_LABEL_STUDIO_TOKEN"):
        reader.read(f"{studio.url}/data/upload/1/a.png", 9)
    asked = len(studio.asked)
    for path in ("/api/projects/1", "/data/upload/../../api/x", "/data/upload/%2e%2e/%252e%252e/x"):
        reader.read(studio.url + path, 9)
    assert len(studio.asked) == asked  # the token opens files, and nothing else
    assert len(web.read_uris) == 4
