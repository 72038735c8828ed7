"""What alerts and dashboard ask of Prometheus: metrics, labels and values that are exported."""

import json
import re

import pytest
from deploy.grafana import dashboard

from camfleet.gateway.app import ROUTES
from helpers import documents
from helpers.documents import ROOT
from helpers.exported_metrics import OF_A_SCRAPE, VALUES, exported

ALERTS = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text("utf-8")
CHART = (ROOT / "deploy" / "helm" / "camfleet" / "templates" / "scaling.yaml").read_text("utf-8")
TESTS = (ROOT / "tests" / "charts" / "alerts.test.yaml").read_text("utf-8")
RUNBOOK = ROOT / "docs" / "operating.md"

METRIC = re.compile(r"\b(?:camfleet|process)_\w+")
SELECTOR = re.compile(r"\b((?:camfleet|process)_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
EXPORTED = exported()


def alerts():
    """Return the expression of every alert."""
    parts = re.split(r"- alert: ", ALERTS)[1:]
    bodies = [re.search(r"expr:(.*?)\n        (?:for|labels):", part, re.DOTALL) for part in parts]
    return [" ".join(body[1].replace(">-", "").split()) for body in bodies]


def panels():
    """Return the expressions of the dashboard, as it's committed."""
    made = json.loads(dashboard.PATH.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in made for target in panel.get("targets", ())]


EXPRESSIONS = [*alerts(), *panels(), *re.findall(r'query: \{\{ printf "(.*?)" ', CHART)]
every_expression = pytest.mark.parametrize("text", EXPRESSIONS)


def test_there_is_an_expression_for_each_alert_and_several_for_the_dashboard():
    assert len(alerts()) == len(NAMES) == len(set(NAMES)) > 10
    assert len(panels()) > 30
    assert len(EXPRESSIONS) == len(alerts()) + len(panels()) + 1


@every_expression
def test_every_metric_that_is_asked_for_is_exported(text):
    asked = METRIC.findall(text)
    assert asked
    assert set(asked) <= set(EXPORTED)


@every_expression
def test_every_label_that_is_asked_for_is_one_of_the_metric(text):
    for name, matchers in SELECTOR.findall(text):
        for label, _, _ in MATCHER.findall(matchers):
            assert label in EXPORTED[name] | OF_A_SCRAPE, (name, label)
    labels = set().union(*(EXPORTED[name] for name in METRIC.findall(text)))
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
        assert {label.strip() for label in group.split(",")} <= labels | OF_A_SCRAPE, group


@every_expression
def test_every_value_that_is_asked_for_may_be_there(text):
    known = {
        **VALUES,
        "route": {route.path for route in ROUTES},
        "code": set(re.findall(r"`(\w+)`", _codes())),
    }
    for _, matchers in SELECTOR.findall(text):
        for label, sign, value in MATCHER.findall(matchers):
            if label in known:
                wanted = value.split("|") if "~" in sign else [re.escape(value)]
                for one in wanted:
                    assert any(re.fullmatch(one, each) for each in known[label]), (label, one)
            else:
                assert label in OF_A_SCRAPE, label


def _codes():
    return (ROOT / "docs" / "http-api.md").read_text("utf-8")


def test_the_dashboard_is_as_its_script_writes_it():
    assert json.loads(dashboard.PATH.read_text("utf-8")) == dashboard.dashboard()


def test_the_panels_of_the_dashboard_lie_beside_each_other():
    taken = set()
    for panel in dashboard.dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_shows_every_metric_of_camfleets_own():
    shown = {name for text in panels() for name in METRIC.findall(text)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    own = {re.sub(r"_(bucket|sum|count)$", "", name) for name in EXPORTED if "camfleet" in name}
    assert own - shown == {"camfleet_model_cache_models"}


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_leads_to_a_section_that_says_what_to_do(name):
    assert f"runbook: docs/operating.md#{name.lower()}\n" in ALERTS
    assert name.lower() in documents.anchors(RUNBOOK)


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_seen_to_fire_and_not_to_fire(name):
    assert f"alertname: {name}" in TESTS or f'alertname="{name}"' in TESTS
