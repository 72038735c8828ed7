"""Alerts and dashboard as Prometheus' own promtool reads them."""

import json
import re

import pytest
from deploy.grafana import dashboard

from helpers.charts import PROMTOOL, ROOT, Refused, render, run

pytestmark = pytest.mark.charts

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
TESTS = ROOT / "tests" / "charts" / "alerts.test.yaml"


def rules(folder, expressions):
    """Write expressions as rules; return the file."""
    path = folder / "rules.yaml"
    made = [{"record": f"a:{number}", "expr": text} for number, text in enumerate(expressions)]
    path.write_text(json.dumps({"groups": [{"name": "a", "rules": made}]}))
    return path


def test_promtool_has_nothing_against_the_alerts():
    assert re.search(r"SUCCESS: \d+ rules found", run([PROMTOOL, "check", "rules", ALERTS]))


def test_each_alert_fires_when_it_should_and_not_otherwise():
    assert "SUCCESS" in run([PROMTOOL, "test", "rules", TESTS])


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("camfleet_broker_up) == 0", "camfleet_broker_up) == 2"),
        ("camfleet_leases_overdue) > 0", "camfleet_leases_overdue) >= 0"),
        ('status="failed"', 'status="fails"'),
        ("> 600", "> 60"),
    ],
)
def test_the_tests_of_alerts_notice_an_expression_that_is_wrong(was, now, tmp_path):
    text = ALERTS.read_text()
    assert was in text
    (tmp_path / "alerts.yaml").write_text(text.replace(was, now))
    tests = TESTS.read_text().replace("../../deploy/prometheus/", "")
    (tmp_path / "tests.yaml").write_text(tests)
    with pytest.raises(Refused, match="FAILED"):
        run([PROMTOOL, "test", "rules", tmp_path / "tests.yaml"])


def test_prometheus_can_read_every_expression_of_the_dashboard(tmp_path):
    panels = dashboard.dashboard()["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    found = [text.replace("$__rate_interval", "5m").replace("$fleet", ".*") for text in found]
    assert f"SUCCESS: {len(found)} rules" in run(
        [PROMTOOL, "check", "rules", rules(tmp_path, found)]
    )
    with pytest.raises(Refused):
        run([PROMTOOL, "check", "rules", rules(tmp_path, [*found, "sum(a"])])


def test_prometheus_can_read_what_keda_asks(tmp_path):
    scaled = [each["spec"] for each in render("most") if each["kind"] == "ScaledObject"]
    found = [
        trigger["metadata"]["query"]
        for spec in scaled
        for trigger in spec["triggers"]
        if trigger["type"] == "prometheus"
    ]
    assert len(found) == 2
    assert "SUCCESS: 2 rules" in run([PROMTOOL, "check", "rules", rules(tmp_path, found)])
