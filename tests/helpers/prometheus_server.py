"""A real Prometheus that scrapes a fleet, with the alerts of `deploy/prometheus` in a hurry."""

import json
import re
import subprocess
from urllib.request import urlopen

from helpers.charts import ROOT, TOOLS
from helpers.metrics import free_port
from helpers.waiting import wait_until

PROGRAM = TOOLS / "prometheus" / "usr" / "bin" / "prometheus"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
HURRY = 30  # times as fast as operators have it: what takes an hour there takes two minutes here
SCRAPE_SECONDS = 2
_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(for: |\[|offset )(\d+)([smh])\b")


def hastened(rules):
    """Return the text of rules with all durations shortened, and nothing else changed."""

    def shorter(found):
        seconds = int(found[2]) * _UNITS[found[3]] // HURRY
        return f"{found[1]}{max(1, seconds)}s"

    return _DURATION.sub(shorter, rules)


class Prometheus:
    """A Prometheus that scrapes these ports of loopback every two seconds."""

    def __init__(self, folder, ports):
        folder.mkdir()
        self._port = free_port()
        self._log = folder / "log"
        (folder / "alerts.yaml").write_text(hastened(ALERTS.read_text()))
        every = f"{SCRAPE_SECONDS}s"
        config = {
            "global": {
                "scrape_interval": every,
                "scrape_timeout": every,
                "evaluation_interval": "1s",
            },
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {
                    "job_name": "camfleet",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    PROGRAM,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=output,
                stderr=output,
            )
        wait_until(self._is_ready, 30)

    def close(self):
        self._process.terminate()
        self._process.wait(30)

    def values(self, query):
        """Return the values that an expression has now."""
        found = self._get(f"query?query={query}")["result"]
        return [float(each["value"][1]) for each in found]

    def alerts(self, state="firing"):
        """Return the labels and annotations of all alerts in a state, by name."""
        found = {}
        for alert in self._get("alerts")["alerts"]:
            if alert["state"] == state:
                labels = {**alert["labels"], **alert["annotations"]}
                found.setdefault(labels.pop("alertname"), []).append(labels)
        return found

    def fires(self, name, labels, timeout=120, meanwhile=lambda: None):
        """Return the labels and annotations of an alert, once it fires with some labels."""

        def found():
            meanwhile()
            told = self.alerts().get(name, ())
            return next((one for one in told if labels.items() <= one.items()), None)

        return wait_until(found, timeout, pause=0.3)

    def ends(self, *names, timeout=120):
        """Return when none of these alerts fires or is about to."""
        wait_until(lambda: not {*self.alerts(), *self.alerts("pending")} & {*names}, timeout)

    def _is_ready(self):
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _get(self, path):
        with urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=30) as answer:
            return json.load(answer)["data"]
