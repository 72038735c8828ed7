"""The list of components (CycloneDX JSON) of an environment, each with its licence."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from dependencies import installed, licences
from packaging.utils import canonicalize_name

from release.sources import ROOT, environment

ACCEPTED = ROOT / "dependencies" / "accepted.toml"
TOOL = ROOT / ".tools" / "cyclonedx" / "bin"
FORM = "1.6"

# Servers inside of wheels, as package URLs and with the licence that their own sources name.
_SERVERS = {
    "seaweedfs": ("pkg:golang/github.com/seaweedfs/seaweedfs@", "Apache-2.0"),
    "valkey": ("pkg:github/valkey-io/valkey@", "BSD-3-Clause"),
}


def write(python: Path, to: Path) -> None:
    """Write the components of an interpreter's environment, the same bytes for the same ones."""
    options = ["--output-reproducible", "--spec-version", FORM, "--pyproject"]
    done = subprocess.run(
        [TOOL / "cyclonedx-py", "environment", *options, ROOT / "pyproject.toml", python],
        env=environment(),
        check=True,
        capture_output=True,
    )
    listed = completed(json.loads(done.stdout), in_environment(python))
    to.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n", "utf-8")


def completed(listed: dict[str, Any], found: list[Distribution]) -> dict[str, Any]:
    """Return a list with the bundled servers, and licences where metadata has no field for them."""
    accepted = tomllib.loads(ACCEPTED.read_text("utf-8"))["packages"]
    by_name = {canonicalize_name(dist.metadata["Name"]): dist for dist in found}
    for component in [*listed["components"], listed["metadata"]["component"]]:
        _without_files_of_this_machine(component)
        name = canonicalize_name(component["name"])
        if not component.get("licenses") and name in by_name:
            names = licences.named(by_name[name])
            spelt = re.findall(r"says ([\w.-]+);", accepted.get(name, ""))
            component["licenses"] = [{"license": {"name": each}} for each in names or spelt]
    listed["components"] += _servers(found)
    return listed


def _servers(found: list[Distribution]) -> Iterator[dict[str, Any]]:
    for component in installed.components(found):
        name = component.name.rpartition("/")[2]
        if component.ecosystem != "PyPI" and name in _SERVERS:
            url, licence = _SERVERS[name]
            yield {
                "bom-ref": f"{name}=={component.version}",
                "type": "application",
                "name": name,
                "version": component.version,
                "purl": url + component.version,
                "licenses": [{"license": {"id": licence}}],
            }


def _without_files_of_this_machine(component: dict[str, Any]) -> None:
    """Take away where a wheel was installed from: a path means nothing elsewhere."""
    named = component.get("externalReferences", [])
    kept = [each for each in named if not each["url"].startswith("file:")]
    if kept:
        component["externalReferences"] = kept
    else:
        component.pop("externalReferences", None)


def problems(listed: dict[str, Any], found: list[Distribution]) -> Iterator[str]:
    """Yield what is installed and not listed, and what has no licence that is accepted."""
    names = {canonicalize_name(each["name"]) for each in listed["components"]}
    table = tomllib.loads(ACCEPTED.read_text("utf-8"))
    for dist in found:
        name = canonicalize_name(dist.metadata["Name"])
        if name not in names | {"camfleet"}:
            yield f"{name} is installed and not listed"
        said = licences.problem(name, licences.named(dist), table["licences"], table["packages"])
        if said:
            yield said
    for component in listed["components"]:
        if not component.get("licenses"):
            yield f"{component['name']} is listed without a licence"


def in_environment(python: Path) -> list[Distribution]:
    return list(distributions(path=[str(_site_packages(python))]))


def _site_packages(python: Path) -> Path:
    (folder,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    return folder


def validate(path: Path) -> None:
    """Raise `CalledProcessError` unless the file follows CycloneDX' own schema, strictly."""
    check = (
        "import sys; from cyclonedx.schema import SchemaVersion; "
        "from cyclonedx.validation.json import JsonStrictValidator; "
        f"error = JsonStrictValidator(SchemaVersion.V{FORM.replace('.', '_')})"
        ".validate_str(open(sys.argv[1]).read()); sys.exit(str(error) if error else 0)"
    )
    subprocess.run([TOOL / "python", "-c", check, path], check=True)
