"""Hosts as Linux network namespaces: each has a link of its own to a router, which cuts and loses.

A namespace belongs to a thread of this process. It goes with that thread, its children and their
sockets, and its links go with it: however this process ends, nothing is left to clean up.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_CLONE_NEWUTS, _CLONE_NEWNET = 0x04000000, 0x40000000
_WAY_OUT = "these tests need Linux, root and nft (apt-get install iproute2 nftables)"
_RULES = """
table ip faults {
    set cut { type ifname; }
    set lossy { type ifname; }
    set apart { type ifname; }
    chain forward {
        type filter hook forward priority 0;
        iifname @cut drop
        oifname @cut drop
        iifname @apart oifname != @apart drop
        iifname != @apart oifname @apart drop
        iifname @lossy numgen random mod 100 < 1 counter drop
        oifname @lossy numgen random mod 100 < 1 counter drop
    }
}
"""
_TO_LOOPBACK = """
table ip servers {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname "eth0" dnat to 127.0.0.1
    }
}
"""


class Namespace:
    """A network and a host name of their own, and the thread that lives in them."""

    def __init__(self, name):
        self.name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"host-{name}")
        self.path = self.do(_move, name)
        self.run("ip", "link", "set", "lo", "up")

    def do(self, work, *args, **options):
        """Return what `work` returns within; sockets, threads and children that it makes stay."""
        return self._thread.submit(work, *args, **options).result()

    def run(self, *command, text=None):
        """Run a program within; return what it prints."""
        done = self.do(
            subprocess.run, command, input=text, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}; {_WAY_OUT}"
        return done.stdout

    def switch(self, name, value):
        """Set a variable of the kernel's network (sysctl net.ipv4)."""
        self.do((Path("/proc/sys/net/ipv4") / name).write_text, str(value))

    def close(self):
        self._thread.shutdown()


class Host(Namespace):
    """A host at an address of its own; `outside` is its port at the router, `slow` a slow one's."""

    def __init__(self, router, number, name):
        super().__init__(name)
        self.address, self.gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        self.outside, self.slow = f"to-{name}", f"slow-{name}"
        router.run(
            *("ip", "link", "add", self.outside, "type", "veth"),
            *("peer", "name", "eth0", "netns", self.path),
        )
        router.run("ip", "address", "add", f"{self.gateway}/24", "dev", self.outside)
        router.run("ip", "link", "set", self.outside, "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", self.gateway)

    def serve_loopback(self):
        """Let others reach, at this host's address, what listens on its loopback interface."""
        self.switch("conf/eth0/route_localnet", 1)
        self.run("nft", "-f", "-", text=_TO_LOOPBACK)


class Network:
    """A router and its hosts. What it drops is dropped without a word: no RST, no ICMP."""

    def __init__(self):
        _must_be_possible()
        self.router = Namespace("router")
        self.router.switch("ip_forward", 1)
        self.router.run("nft", "-f", "-", text=_RULES)
        self._hosts = []

    def host(self, name):
        """Add a host of a name with at most 10 characters."""
        self._hosts.append(Host(self.router, len(self._hosts) + 1, name))
        return self._hosts[-1]

    def cut(self, host):
        """Drop every packet from and to a host."""
        self._change("add", "cut", host)

    def join(self, host):
        """Pass its packets again."""
        self._change("delete", "cut", host)

    def split(self, hosts):
        """Drop every packet between these hosts and all others."""
        for host in hosts:
            self._change("add", "apart", host)

    def unite(self, hosts):
        """Pass them again."""
        for host in hosts:
            self._change("delete", "apart", host)

    def lose(self, host):
        """Drop one packet in a hundred, in each direction."""
        self._change("add", "lossy", host)

    def lose_no_more(self, host):
        self._change("delete", "lossy", host)

    def dropped(self):
        """Return how many packets were lost at random so far."""
        words = self.router.run("nft", "list", "chain", "ip", "faults", "forward").split()
        return sum(int(words[at + 1]) for at, word in enumerate(words) if word == "packets")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in (*self._hosts, self.router):
            namespace.close()

    def _change(self, verb, name, host):
        self.router.run("nft", verb, "element", "ip", "faults", name, f'{{ "{host.outside}" }}')


def _must_be_possible():
    missing = [program for program in ("ip", "nft") if not shutil.which(program)]
    assert not missing, f"there is no {' and no '.join(missing)}: {_WAY_OUT}"
    assert os.geteuid() == 0, f"only root may make network namespaces: {_WAY_OUT}"


def _move(name):
    """Move the calling thread into new namespaces; return the path of its network's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWUTS):
        reason = os.strerror(ctypes.get_errno())
        raise AssertionError(f"no network namespace can be made ({reason}): {_WAY_OUT}")
    socket.sethostname(name)
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
