"""Writes camfleet.json, a Grafana dashboard of a fleet: `python -m deploy.grafana.dashboard`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS

PATH = Path(__file__).with_name("camfleet.json")
WIDTH, HEIGHT, COLUMNS = 8, 7, 24  # of a panel, and of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "camfleet",
        "title": "camfleet",
        "tags": ["camfleet"],
        "schemaVersion": 36,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _fleets()]},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in ROWS.items():
        number += 1
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place}
        top += 1
        for at, panel in enumerate(panels):
            number += 1
            down, right = divmod(at * WIDTH, COLUMNS)
            place = {"h": HEIGHT, "w": WIDTH, "x": right, "y": top + down * HEIGHT}
            yield {"id": number, "gridPos": place, **_graph(*panel)}
        top += -(-len(panels) * WIDTH // COLUMNS) * HEIGHT


def _graph(title: str, unit: str, expressions: dict[str, str], about: str) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": text, "legendFormat": legend}
        for at, (legend, text) in enumerate(expressions.items())
    ]
    return {
        "type": "timeseries",
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _fleets() -> dict[str, Any]:
    query = "label_values(camfleet_broker_up, fleet)"
    return {
        "name": "fleet",
        "label": "Fleet",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "fleet"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(dashboard(), indent=1) + "\n", "utf-8")
