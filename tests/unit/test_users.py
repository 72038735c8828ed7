"""The users of deploy/redis/users.acl against what is sent, as far as files tell."""

import re
from pathlib import Path

import pytest

from camfleet.broker import prefixed

ROOT = Path(__file__).parents[2]
ACL = ROOT / "deploy" / "redis" / "users.acl"
LUA = sorted((ROOT / "producer" / "camfleet" / "broker" / "lua").glob("*.lua"))
USERS = {line.split()[1]: line.split() for line in ACL.read_text().splitlines()}
ALLOWED = {word.removeprefix("+").upper() for word in USERS["camfleet"] if word.startswith("+")}


@pytest.mark.parametrize("script", LUA, ids=lambda path: path.stem)
def test_the_user_may_run_what_a_script_runs(script):
    assert set(re.findall(r"redis\.p?call\('([A-Z]+)'", script.read_text())) <= ALLOWED


def test_the_user_may_run_what_gets_a_prefix():
    numbered = {"EVAL", "EVALSHA", "SCAN", "XREAD"}
    assert prefixed._FIRST | prefixed._ALL | numbered <= ALLOWED


def test_nobody_else_may_log_in_and_all_begin_with_nothing():
    assert set(USERS) == {"camfleet", "replica", "sentinel", "default"}
    assert USERS["default"] == ["user", "default", "off"]
    for words in (USERS[name] for name in ("camfleet", "replica", "sentinel")):
        assert "-@all" in words
        assert not {"+@all", "allkeys", "~*", "nopass"} & set(words)
