"""Connections of a gateway: whoever holds many leaves as many to all others."""

from contextlib import ExitStack

import pytest

from camfleet.gateway.access import crowd
from camfleet.gateway.access.crowd import Crowd, network_of
from camfleet.gateway.problems import Problem


def enter(place, address, count=1):
    return [place.enter(address) for _ in range(count)]


def let_in(found):
    return [held for held in found if held and held.by]


def test_one_address_without_a_token_holds_half_and_two_a_third_each():
    alone = Crowd(100)
    assert len(let_in(enter(alone, "10.0.0.1", 200))) == 50
    assert len(let_in(enter(alone, "10.0.0.2", 200))) == 25
    both = Crowd(100)
    found = [both.enter(address) for _ in range(200) for address in ("10.0.0.1", "10.0.0.2")]
    assert 66 <= len(let_in(found)) <= 67
    assert let_in(enter(both, "10.0.0.3"))


def test_an_owner_holds_half_whatever_addresses_they_come_from():
    place = Crowd(100)
    for number in range(50):
        (held,) = enter(place, f"10.0.0.{number}")
        place.claim(held, "ann")
    (one_more,) = enter(place, "10.0.0.99")
    with pytest.raises(Problem, match=r"50 connections of this token's owner") as told:
        place.claim(one_more, "ann")
    assert (told.value.status, told.value.headers["Connection"]) == (429, "close")
    place.claim(one_more, "bob")  # whose is another matter
    assert place.connections == 51


def test_a_connection_counts_once_for_whoever_used_it_last():
    place = Crowd(10)
    (held,) = enter(place, "10.0.0.1")
    for owner in ("ann", "bob", "bob", "ann"):
        place.claim(held, owner)
    assert held.by == ("owner", "ann")
    place.leave(held)
    assert (place.connections, place._held) == (0, {})


def test_what_has_left_makes_room_again():
    place = Crowd(10)
    found = enter(place, "10.0.0.1", 6)
    assert [bool(held.by) for held in found] == [True] * 5 + [False]
    place.leave(found[0])
    assert let_in(enter(place, "10.0.0.1"))
    for held in found[1:]:
        place.leave(held)
    assert place.connections == 1


def test_some_are_told_that_there_are_too_many_and_more_end_without_a_word(monkeypatch):
    monkeypatch.setattr(crowd, "MOST_REFUSED", 3)
    place = Crowd(2)
    found = enter(place, "10.0.0.1", 6)
    assert [held and bool(held.by) for held in found] == [True, False, False, False, None, None]
    place.claim(found[1], "ann")  # it's told the same whatever token it shows
    assert found[1].by is None
    place.leave(found[1])
    assert place.enter("10.0.0.1").by is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("/tmp/socket", "/tmp/socket"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_customers_ipv6_addresses_are_one(address, network):
    assert network_of(address) == network


def test_who_asks_and_hangs_up_is_counted_until_the_request_has_ended():
    place = Crowd(10)
    with ExitStack() as in_work:
        for held in let_in(enter(place, "10.0.0.1", 9)):
            in_work.enter_context(place.request(held))
            place.leave(held)
        assert place.connections == 5
        assert not let_in(enter(place, "10.0.0.1"))
    assert (place.connections, place._held) == (0, {})


def test_a_connection_leaves_once_whichever_of_its_requests_ends_last():
    place = Crowd(10)
    (held,) = enter(place, "10.0.0.1")
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(place.request(held))
        second.enter_context(place.request(held))
        first.close()
        place.leave(held)
        assert place.connections == 1
    assert (place.connections, place._held) == (0, {})
