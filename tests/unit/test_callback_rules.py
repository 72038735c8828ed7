"""Callbacks without a server: which URLs are taken, and how long a sender waits."""

import pytest

from camfleet.broker.callbacks_due import Ending
from camfleet.errors import InvalidRequest
from camfleet.jobs.callback_url import check_callback
from camfleet_worker.webhooks import pause

DAY = 24 * 3600


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a?b=c",
        "http://127.0.0.1:8080",
        "https://me:secret@[2001:db8::1]:8443/hook",
        "HTTPS://hooks.example.com/",
    ],
)
def test_a_url_that_names_a_web_server_is_taken(url):
    check_callback(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not of the form https://host/path"),
        ("hooks.example.com/a", "not of the form"),
        ("ftp://hooks.example.com/a", "not of the form"),
        ("https:///a", "not of the form"),
        ("http://[::1/a", "not of the form"),
        ("http://hooks.example.com:99999/", "not of the form"),
        ("http://hooks.example.com:0/", "not of the form"),
        ("http://hooks.example.com/a b", "percent-encoded"),
        ("http://hooks.example.com/a\r\nX-Mine: 1", "percent-encoded"),
        ("http://hooks.example.com/\u00fc", "percent-encoded"),
        ("http://hooks.example.com/" + "a" * 2048, "more than 2048"),
    ],
)
def test_any_other_url_is_refused_with_the_reason(url, reason):
    with pytest.raises(InvalidRequest, match=reason):
        check_callback(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:s3cret@hooks.example.com/a",
        "ftp://hooks.example.com/services/s3cret",
        "https://hooks.example.com/a b?x=s3cret",
        "https://hooks.example.com/a b/@s3cret",
    ],
)
def test_a_refusal_names_the_server_alone(url):
    with pytest.raises(InvalidRequest, match=r"hooks\.example\.com'") as caught:
        check_callback(url)
    assert "s3cret" not in str(caught.value)


def test_an_end_has_one_id_and_another_end_another():
    assert Ending("job", "cancelled", 1700000000.1234).id == "job.1700000000123"
    assert Ending("job", "complete", 1700000000.5).id == "job.1700000000500"


def test_the_pauses_grow_from_seconds_to_a_day():
    pauses = [pause(attempts, 5, None) for attempts in range(1, 10)]
    assert 5 <= pauses[0] <= 5.5
    assert 300 <= pauses[1] <= 330
    assert DAY <= pauses[8] <= 1.1 * DAY
    assert pauses == sorted(pauses)


def test_senders_do_not_wait_equally_long():
    assert len({pause(3, 5, None) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("attempts", "asked", "least", "most"),
    [(1, 60, 60, 60), (1, 1, 5, 5.5), (1, 10**9, 300, 300), (9, 10**9, DAY, 1.1 * DAY)],
)
def test_a_receiver_may_ask_for_more_time_up_to_the_next_pause(attempts, asked, least, most):
    assert least <= pause(attempts, 5, asked) <= most
