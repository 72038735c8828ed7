"""What commands of the gateway say to options that can't be meant, before they ask any server."""

import socket

import pytest
from click.testing import CliRunner

from camfleet.cli import group
from camfleet.cli.serve import _listen
from camfleet.cli.terminal import count
from camfleet.errors import InvalidRequest
from camfleet.gateway.access.tokens import Tokens


@pytest.mark.parametrize("owner", ["a b", "", "-ann", "x" * 65, "ann\n"])
def test_an_owner_that_cannot_be_is_told_what_can(owner):
    with pytest.raises(InvalidRequest, match="can't be an owner: give 1 to 64 letters"):
        Tokens(None).create(owner, ("explain",), 1)


def test_a_token_is_not_both_for_days_and_forever():
    words = ["tokens", "create", "--owner", "ann", "--days", "3", "--forever"]
    done = CliRunner().invoke(group, words)
    assert done.exit_code == 2
    assert "give --days or --forever, not both" in done.output


def test_a_port_that_is_taken_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequest, match=f"--port {port}: can't listen .* a free port"):
            _listen("127.0.0.1", port)


def test_boxes_are_counted_in_english():
    assert [count(1, "box"), count(2, "box"), count(2, "row")] == ["1 box", "2 boxes", "2 rows"]
