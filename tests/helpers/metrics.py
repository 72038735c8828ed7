"""Ask a metrics port as Prometheus does."""

import secrets
import socket
from contextlib import suppress
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

_FIRST, _COUNT = 10_000, 22_000  # below the ports that the kernel gives to outgoing connections
_given = set()


def free_port():
    """Return a port that nobody listens on, another one each time; nobody gets it by chance."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            if port not in _given:
                _given.add(port)
                return port


class Scrape:
    """All samples of a port at one moment."""

    def __init__(self, port):
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name, **labels):
        """Return the one sample of that name that has these labels, None where there's none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == f"camfleet_{name}" and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, found
        return found[0] if found else None
