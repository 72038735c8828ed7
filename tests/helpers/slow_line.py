"""A line between two namespaces on which packets take their time; the kernel may lack netem for it.

Both ends are TUN devices, and a thread carries packets from one to the other.
"""

import fcntl
import os
import select
import struct
import threading
import time
from collections import deque

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST = 2**16
DEVICE = "slow0"


class SlowLine:
    """Takes the place of a host's link to the router; every packet takes `seconds`, each way."""

    def __init__(self, router, host, seconds):
        self._host = host
        self._seconds = seconds
        self._ends = router.do(_device, host.slow), host.do(_device, DEVICE)
        self._bell, self._ear = os.pipe()
        router.run("ip", "link", "set", host.slow, "up")
        router.run("ip", "route", "replace", f"{host.address}/32", "dev", host.slow)
        host.run("ip", "link", "set", DEVICE, "up")
        host.run("ip", "route", "replace", "default", "dev", DEVICE, "src", host.address)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self):
        """Let packets take the link again."""
        os.close(self._bell)
        self._thread.join()
        for end in (*self._ends, self._ear):
            os.close(end)  # and with it its device and routes
        self._host.run("ip", "route", "replace", "default", "via", self._host.gateway)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _carry(self):
        near, far = self._ends
        other = {near: far, far: near}
        under_way = deque()  # in the order in which they are due
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready, _, _ = select.select([near, far, self._ear], [], [], wait)
            if self._ear in ready:
                return
            due = time.monotonic() + self._seconds
            under_way.extend((due, other[end], os.read(end, _LARGEST)) for end in ready)
            while under_way and under_way[0][0] <= time.monotonic():
                _due, end, packet = under_way.popleft()
                os.write(end, packet)


def _device(name):
    number = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(number, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return number
