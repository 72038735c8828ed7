"""Ask a metrics port as Prometheus does."""

import socket
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
