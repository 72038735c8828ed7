"""A primary, two replicas and three sentinels on loopback, as processes that end with the tests."""

import os
from contextlib import closing, suppress
from dataclasses import replace

from redis import Redis, RedisError

from camfleet.local import process, servers
from helpers.metrics import free_port
from helpers.waiting import wait_until

MASTER = "ours"
PASSWORD = "walrus;/@"
OWN_PASSWORD = "sentinels"
DOWN_MS = 1000
REPLICAS = {"min-replicas-to-write": 1, "min-replicas-max-lag": 2}
LOGIN = ":walrus%3B%2F%40"
_SECONDS = 60
_ENVIRON = {"PATH": os.defpath}


class Sentinels:
    """Six processes; `servers` and `sentinels` are their ports. All have passwords.

    `options` are of the servers' configuration. `acl` is a file of users, of whom `replica` and
    `sentinel` are what their names say; `login` is that of the URL.
    """

    def __init__(self, folder, options=REPLICAS, acl=None, login=LOGIN):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._options = options
        self._acl = acl
        self._login = login
        self.master = MASTER
        self._processes = {}
        self.servers = [free_port() for _ in range(3)]
        self.sentinels = [free_port() for _ in range(3)]

    def __enter__(self):
        for port in self.servers:
            self.start(port, self.servers[0])
        wait_until(lambda: self._replicas(self.servers[0]) == 2, _SECONDS, pause=0.1)
        for port in self.sentinels:
            self._watch(port)
        self.settle()
        return self

    def __exit__(self, *_):
        process.stop(list(self._processes.values()))

    def settings(self, settings, **changes):
        """Return settings that lead to this primary."""
        return replace(settings, **{**self._settings(), **changes})

    def environ(self, environ):
        """Return the environment that leads to this primary."""
        names = {f"CAMFLEET_{name.upper()}": value for name, value in self._settings().items()}
        return {**environ, **names}

    def url(self, ports=(), scheme="sentinel"):
        hosts = ";".join(f"127.0.0.1:{port}" for port in ports or self.sentinels)
        return f"{scheme}://{self._login}@{hosts}/0"

    @property
    def primary(self):
        """The port of the server that a sentinel names."""
        for port in self.sentinels:
            with suppress(RedisError), closing(self._sentinel(port)) as sentinel:
                _host, found = sentinel.sentinel_get_master_addr_by_name(self.master)
                return int(found)
        raise AssertionError("no sentinel answers")

    def settle(self):
        """Return when a primary takes writes, two replicas follow it, and all sentinels know."""
        wait_until(self._is_settled, _SECONDS, pause=0.1)

    def kill(self, port):
        """End a server or sentinel as a crash does."""
        process.kill(self._processes[port])

    def start(self, port, primary=None):
        """Start a server, of a primary unless that's itself; one that was killed remembers."""
        folder = self._folder / str(port)
        if not folder.exists():
            folder.mkdir()
            lines = [
                f'masterauth "{PASSWORD}"',
                *([] if self._acl else [f'requirepass "{PASSWORD}"']),
                f"port {port}",
                "bind 127.0.0.1",
                "appendonly yes",
                'save ""',
                "repl-diskless-sync-delay 0",
                "maxmemory-policy noeviction",
                *(f"{name} {value}" for name, value in self._options.items()),
                *([f"replicaof 127.0.0.1 {primary}"] if primary not in (None, port) else []),
                *([f"aclfile {self._acl}", "masteruser replica"] if self._acl else []),
            ]
            (folder / "conf").write_text("\n".join(lines))
        self._spawn(port)

    def fail_over(self, *words):
        """Ask a sentinel for a planned failover, perhaps COORDINATED; return when it has begun."""
        with closing(self._sentinel(self.sentinels[0])) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", self.master, *words)

    def redis(self, port=None):
        """Return a client of one server, the primary by default."""
        return Redis("127.0.0.1", port or self.primary, password=PASSWORD, decode_responses=True)

    def _settings(self):
        return {
            "redis_url": self.url(),
            "sentinel_master": self.master,
            "sentinel_password": OWN_PASSWORD,
        }

    def _watch(self, port):
        folder = self._folder / str(port)
        folder.mkdir()
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"sentinel monitor {self.master} 127.0.0.1 {self.servers[0]} 2",
            f'sentinel auth-pass {self.master} "{PASSWORD}"',
            *([f"sentinel auth-user {self.master} sentinel"] if self._acl else []),
            f"sentinel down-after-milliseconds {self.master} {DOWN_MS}",
            f"sentinel failover-timeout {self.master} 5000",
            f"requirepass {OWN_PASSWORD}",
            f"sentinel sentinel-pass {OWN_PASSWORD}",
        ]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        self._spawn(port, "--sentinel")

    def _spawn(self, port, *words):
        folder = self._folder / str(port)
        command = [str(servers.find_valkey()), "conf", *words]
        self._processes[port] = process.spawn(
            command, log=folder / "log", cwd=folder, environ=_ENVIRON
        )

    def _is_settled(self):
        try:
            states = {
                (state["port"], state["num-slaves"]) for state in map(self._state, self.sentinels)
            }
            return len(states) == 1 and self._replicas(self.primary) == 2
        except (RedisError, KeyError):
            return False

    def _state(self, port):
        with closing(self._sentinel(port)) as sentinel:
            state = sentinel.sentinel_master(self.master)
        if state["num-other-sentinels"] != 2 or state["num-slaves"] < 2 or state["is_sdown"]:
            raise KeyError(port)
        return state

    def _replicas(self, port):
        """Return how many replicas of a server are in step."""
        try:
            with closing(self.redis(port)) as redis:
                said = redis.info("replication")
        except RedisError:
            return 0
        replicas = [said[name] for name in said if name.startswith("slave") and name[5:].isdigit()]
        return sum(replica["state"] == "online" for replica in replicas)

    def _sentinel(self, port):
        return Redis("127.0.0.1", port, password=OWN_PASSWORD, decode_responses=True)
