"""The users of deploy/redis/users.acl: the whole chain behind sentinels, and nothing else."""

from contextlib import closing

import pytest
from redis import Redis, RedisError

from helpers.sentinels import PASSWORD, Sentinels
from helpers.users import PREFIX, write_users
from helpers.waiting import wait_until
from helpers.whole_chain import check_the_chain

LOGIN = "camfleet:walrus%3B%2F%40"


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    acl = write_users(folder / "users.acl", PASSWORD)
    with Sentinels(folder / "six", acl=acl, login=LOGIN) as started:
        yield started


def refused(six):
    """Return what servers have refused, of users and sentinels, as (user, command or key)."""
    found = []
    for port in six.servers:
        with closing(six.redis(port)) as redis:
            found += [(entry["username"], entry["object"]) for entry in redis.acl_log()]
    return found


def test_the_whole_chain_and_a_failover_need_no_more_than_the_file_allows(six, environ, tmp_path):
    environ = {**six.environ(environ), "CAMFLEET_KEY_PREFIX": PREFIX}
    check_the_chain(environ, tmp_path, "acl")
    before = six.primary
    six.kill(before)
    wait_until(lambda: six.primary != before, 30)
    six.start(before)
    six.settle()
    check_the_chain(environ, tmp_path / "again", "acl-again")
    with closing(six.redis()) as redis:
        strange = [key for key in redis.scan_iter("*") if not key.startswith(PREFIX)]
    assert strange == []
    assert refused(six) == []


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "other:key"),
        ("SET", "camfleet:jobs", "1"),
        ("PUBLISH", "other:channel", "1"),
        ("SUBSCRIBE", "other:channel"),
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("REPLICAOF", "NO", "ONE"),
        ("SHUTDOWN",),
        ("EVAL", "return redis.call('GET', 'other:key')", "0"),
    ],
)
def test_the_user_may_do_nothing_else(six, command):
    with (
        closing(Redis("127.0.0.1", six.primary, username="camfleet", password=PASSWORD)) as redis,
        pytest.raises(RedisError, match=r"(?i)permission|ACL failure"),
    ):
        redis.execute_command(*command)
