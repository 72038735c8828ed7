"""The chart's schema against camfleet's settings; the rest is in tests/charts, with helm itself."""

import dataclasses
import json
import tomllib

from camfleet.settings import Settings, variable
from helpers.charts import CHART, ROOT

# Set by the chart's own values, or of no use in a cluster.
OWN = {
    *("REDIS_URL", "SENTINEL_MASTER", "SENTINEL_USER", "SENTINEL_PASSWORD", "KEY_PREFIX"),
    *("BUCKET", "S3_ENDPOINT", "S3_REGION", "CA_FILE", "MODEL_DIR", "FAULT_DIR"),
    *("STOP_SECONDS", "METRICS_PORT", "METRICS_HOST"),
}
SECRET = ["SIGNING_KEY", "WEBHOOK_SECRET", "LABEL_STUDIO_TOKEN"]


def test_the_schema_has_every_setting_that_the_chart_does_not_set_itself():
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = {variable(field) for field in dataclasses.fields(Settings)}
    own = {f"CAMFLEET_{name}" for name in OWN}
    secret = {f"CAMFLEET_{name}" for name in SECRET}
    assert own | secret <= known
    assert set(schema["$defs"]["settings"]["properties"]) == known - own - secret
    assert set(schema["properties"]["secretSettings"]["properties"]) == secret


# What a template does without: an empty value takes a key and its default away.
OPTIONAL = {
    *("settings", "secretSettings", "imagePullSecrets", "tolerations", "affinity", "annotations"),
    *("nodeSelector", "volumes", "volumeMounts", "podAnnotations", "priorityClassName", "labels"),
    *("runtimeClassName", "allowOrigins", "requests", "limits", "tag", "digest", "metricsFrom"),
    *("gatewayFrom", "store", "global", "hostNames"),
}


def test_the_schema_wants_every_key_that_a_template_needs():
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path, each in _objects(schema, ""):
        if path in (".secretSettings", ".settings") or path.startswith(".networkPolicy."):
            continue
        needed = set(each.get("properties", {})) - OPTIONAL
        if path == ".networkPolicy":
            needed -= {"redis"}
        assert set(each.get("required", [])) == needed, path


def test_no_object_of_the_schema_takes_keys_that_nobody_reads():
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = [path for path, each in _objects(schema, "") if "additionalProperties" not in each]
    # What Kubernetes itself reads, and checks.
    kept = (
        "global",
        "affinity",
        "tolerations[]",
        "volumes[]",
        "volumeMounts[]",
        "Selector",
        "Block",
    )
    assert free
    assert not [path for path in free if not path.endswith(kept)]


def _objects(schema, path):
    if schema.get("type") == "object":
        yield path, schema
    if schema.get("type") == "array":
        yield from _objects(schema["items"], f"{path}[]")
    for group in ("properties", "$defs"):
        for name, each in schema.get(group, {}).items():
            yield from _objects(each, f"{path}.{name}")


def test_the_version_is_that_of_the_package():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = package["project"]["version"]
    assert f"\nappVersion: {version}\n" in (CHART / "Chart.yaml").read_text()
