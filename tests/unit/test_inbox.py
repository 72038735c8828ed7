"""What waits for answers takes its sockets along when it goes, however early that is."""

import gc
import socket
import sys

import pytest

from camfleet.interactive.inbox import _Listener
from camfleet.settings import Settings

SETTINGS = Settings.from_environ(
    {"CAMFLEET_REDIS_URL": "redis://localhost", "CAMFLEET_BUCKET": "camfleet"}
)


def test_ctrl_c_before_there_are_sockets_prints_nothing(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    printed = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    monkeypatch.setattr(socket, "socketpair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _Listener(SETTINGS)
    gc.collect()
    assert printed == []


def test_sockets_are_closed_with_what_uses_them():
    listener = _Listener(SETTINGS)
    ends = listener._bell, listener._ear
    del listener
    gc.collect()
    assert [end.fileno() for end in ends] == [-1, -1]
