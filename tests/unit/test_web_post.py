"""Posting over http: through the same guard as images, whatever the receiver does."""

import pytest

from camfleet.errors import CamfleetError, ImageError, SourceForbidden, SourceUnreachable
from camfleet_worker.web.client import Posted
from helpers.callback_receiver import receiving
from helpers.web_server import Names, client


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


def post(url, *, seconds=5, **options):
    return client(**options).post(url, b"{}", {"Content-Type": "application/json"}, seconds)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 410, 500])
def test_every_status_is_returned_and_no_redirect_followed(status, receiver):
    receiver.answers = [(status, {"Location": "/elsewhere"})]
    assert post(receiver.url("/hook?a=b")) == Posted(status, None)
    (call,) = receiver.calls
    assert (call.path, call.body) == ("/hook?a=b", b"{}")
    assert call.headers["user-agent"] == "camfleet"
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("9" * 5000, None),
    ],
)
def test_a_receiver_may_say_when_to_come_again(text, seconds, receiver):
    receiver.answers = [(503, {"Retry-After": text})]
    assert post(receiver.url()) == Posted(503, seconds)


def test_the_body_of_an_answer_is_not_waited_for(receiver):
    receiver.answers = [(200, {"Content-Length": str(10**12)})]
    assert post(receiver.url()).status == 200


def test_a_receiver_that_does_not_answer_may_be_tried_again(receiver):
    receiver.open.clear()
    with pytest.raises(SourceUnreachable, match=r"127.0.0.1:\d+ does not answer within 0.3 s$"):
        post(receiver.url(), seconds=0.3)
    with pytest.raises(SourceUnreachable, match=r"127.0.0.4 .* does not answer"):
        post("http://127.0.0.4:9/hook")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:7f00:1]"])
def test_private_addresses_are_refused(host, receiver):
    with pytest.raises(SourceForbidden, match=r"a public.*CAMFLEET_ALLOW_PRIVATE_HOSTS=1"):
        post(f"http://{host}:{receiver.port}/hook", private=False)
    assert receiver.calls == []


def test_a_name_is_resolved_once_and_its_address_connected_to(receiver):
    names = Names({"hooks.test": ["127.0.0.1"]})
    assert post(f"http://hooks.test:{receiver.port}/hook", resolve=names).status == 204
    assert names.asked == ["hooks.test"]


def test_a_password_is_sent_and_never_shown(receiver):
    post(receiver.url(login="me:s%40fe@"))
    assert receiver.calls[0].headers["authorization"] == "Basic bWU6c0BmZQ=="  # me:s@fe
    for url in ("http://me:s3cret@127.0.0.4:9/t0ken", "http://me:s3cret@a b/t0ken"):
        with pytest.raises(CamfleetError) as caught:
            post(url)
        assert "s3cret" not in str(caught.value)
        assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "http://[::1/a", "http://a:99999/"])
def test_a_malformed_url_is_the_callers_fault(url):
    with pytest.raises(ImageError, match="does not begin a URL"):
        post(url)
    with pytest.raises(SourceForbidden, match="neither http nor https"):
        post("ftp://127.0.0.1/a")
