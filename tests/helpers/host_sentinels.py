"""Redis on three hosts, a server and a sentinel on each, as operators set it up."""

import os
from contextlib import closing

from redis import Redis, RedisError

from camfleet.local import process, servers
from helpers.waiting import wait_until

MASTER = "ours"
PASSWORD = "walrus"
_SERVER, _SENTINEL = 6379, 26379  # each host has all ports to itself
_SECONDS = 60
_ENVIRON = {"PATH": os.defpath}


class HostSentinels:
    """Three servers, of which one is the primary, and three sentinels."""

    def __init__(self, hosts, folder):
        self._hosts = hosts
        self._folder = folder
        self._running = []

    def __enter__(self):
        first, *_ = self._hosts
        for host in self._hosts:
            self._start(host, "server", self._server(host, first))
        wait_until(lambda: self._replicas(first) == 2, _SECONDS, pause=0.1)
        for host in self._hosts:
            self._start(host, "sentinel", self._sentinel(host, first), "--sentinel")
        self.settle()
        return self

    def __exit__(self, *_):
        process.stop(self._running)

    @property
    def environ(self):
        """The variables of whoever uses these servers."""
        sentinels = ";".join(f"{host.address}:{_SENTINEL}" for host in self._hosts)
        return {
            "CAMFLEET_REDIS_URL": f"sentinel://:{PASSWORD}@{sentinels}/0",
            "CAMFLEET_SENTINEL_MASTER": MASTER,
        }

    def primary(self, asked=None):
        """Return the host of the primary, as the sentinel of a host says."""
        with closing(self._redis(asked or self._hosts[0], _SENTINEL)) as sentinel:
            address, _port = sentinel.sentinel_get_master_addr_by_name(MASTER)
        return next(host for host in self._hosts if host.address == address)

    def others(self):
        """Return the hosts of replicas."""
        primary = self.primary()
        return [host for host in self._hosts if host is not primary]

    def settle(self):
        """Return when all sentinels name one primary, and two replicas follow it."""
        wait_until(self._is_settled, _SECONDS, pause=0.1)

    def _is_settled(self):
        try:
            primaries = {self.primary(host) for host in self._hosts}
            return len(primaries) == 1 and self._replicas(*primaries) == 2 and self._know_all()
        except (RedisError, KeyError):
            return False

    def _know_all(self):
        for host in self._hosts:
            with closing(self._redis(host, _SENTINEL)) as sentinel:
                state = sentinel.sentinel_master(MASTER)
            if state["num-other-sentinels"] != 2 or state["num-slaves"] < 2 or state["is_sdown"]:
                return False
        return True

    def _replicas(self, host):
        try:
            with closing(self._redis(host, _SERVER, PASSWORD)) as redis:
                said = redis.info("replication")
        except RedisError:
            return 0
        replicas = [said[name] for name in said if name.startswith("slave") and name[5:].isdigit()]
        return sum(replica["state"] == "online" for replica in replicas)

    def _redis(self, host, port, password=None):
        """Return a client on the host itself, whom no cut line keeps from it."""
        made = Redis("127.0.0.1", port, password=password, decode_responses=True, retry=None)
        host.do(made.ping)  # which connects
        return _Within(host, made)

    def _server(self, host, first):
        return [
            f"port {_SERVER}",
            "bind 0.0.0.0",
            f"requirepass {PASSWORD}",
            f"masterauth {PASSWORD}",
            f"replica-announce-ip {host.address}",
            "appendonly yes",
            'save ""',
            "repl-diskless-sync-delay 0",
            "maxmemory-policy noeviction",
            "min-replicas-to-write 1",
            "min-replicas-max-lag 2",
            *([f"replicaof {first.address} {_SERVER}"] if host is not first else []),
        ]

    def _sentinel(self, host, first):
        return [
            f"port {_SENTINEL}",
            "bind 0.0.0.0",
            "protected-mode no",
            f"sentinel announce-ip {host.address}",
            f"sentinel monitor {MASTER} {first.address} {_SERVER} 2",
            f"sentinel auth-pass {MASTER} {PASSWORD}",
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 5000",
        ]

    def _start(self, host, what, lines, *words):
        folder = self._folder / f"{host.name}-{what}"
        folder.mkdir(parents=True)
        (folder / "conf").write_text("\n".join(lines) + "\n")
        command = [str(servers.find_valkey()), "conf", *words]
        started = host.do(process.spawn, command, log=folder / "log", cwd=folder, environ=_ENVIRON)
        self._running.append(started)


class _Within:
    """A client whose calls are made on a host."""

    def __init__(self, host, client):
        self._host = host
        self._client = client

    def __getattr__(self, name):
        return lambda *words: self._host.do(getattr(self._client, name), *words)
