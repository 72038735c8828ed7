"""Redis with the users of deploy/redis/users.acl, and one more that may do everything."""

import os
from contextlib import closing, contextmanager
from pathlib import Path

from redis import Redis, RedisError

from camfleet.local import process, servers
from helpers.metrics import free_port
from helpers.waiting import wait_until

ACL = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
PREFIX = "prod:"  # as the file has it


def write_users(path, password):
    """Write the file with a password for all; the default user is the tests' own."""
    text = ACL.read_text()
    for name in ("CAMFLEET", "REPLICA", "SENTINEL"):
        assert text.count(f">{name}_PASSWORD") == 1
        text = text.replace(f">{name}_PASSWORD", f">{password}")
    assert text.count("user default off\n") == 1
    path.write_text(text.replace("default off", f"default on >{password} ~* &* +@all"))
    return path


@contextmanager
def a_server_with_users(folder):
    """Give the port of a server whose users all have the password `a-password`."""
    port = free_port()
    acl = write_users(folder / "users.acl", "a-password")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--aclfile", str(acl), "--save", ""]
    command = [str(servers.find_valkey()), *words]
    server = process.spawn(command, log=folder / "log", cwd=folder, environ={"PATH": os.defpath})
    with closing(Redis("127.0.0.1", port, password="a-password")) as client:
        wait_until(lambda: _answers(client), 20)
    yield port
    process.kill(server)


def _answers(client):
    try:
        return client.ping()
    except RedisError:
        return False
