"""`python -m dependencies [ADVISORIES ...]`: the licences and advisories of all that is used.

ADVISORIES are zip files, folders or files in OSV's form; without any, OSV's own are downloaded.
The exit code is 0 if all is well, 2 if something was found, and 1 if advisories weren't scanned
(licences always are).
"""

import sys
import tempfile
import tomllib
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from dependencies import advisories, installed, licences

ACCEPTED = Path(__file__).with_name("accepted.toml")
CLEAN, NOT_SCANNED, FOUND = 0, 1, 2


def main(sources: list[Path], accepted: Path = ACCEPTED) -> int:
    table = tomllib.loads(accepted.read_text("utf-8"))
    dists, missing = installed.distributions()
    if missing:
        print(f"not installed here, so not looked at: {', '.join(missing)}")
    problems = _licences(dists, table)
    try:
        problems += _advisories(installed.components(dists), sources, table)
    except advisories.NoSource as error:
        print(f"advisories: not scanned: no source of advisories reachable: {error}")
        print("give OSV's exports by hand: make audit ADVISORIES='PyPI.zip Go.zip Bitnami.zip'")
        code = NOT_SCANNED
    else:
        code = CLEAN
    for problem in problems:
        print(problem)
    return FOUND if problems else code


def _licences(dists: list[Distribution], table: dict[str, Any]) -> list[str]:
    found = [
        licences.problem(
            canonicalize_name(dist.metadata["Name"]),
            licences.named(dist),
            table["licences"],
            table["packages"],
        )
        for dist in dists
    ]
    problems = [
        f"licence: {each}; accept it in accepted.toml, or do without" for each in found if each
    ]
    print(f"licences: {len(dists)} distributions, {len(problems)} not accepted")
    return problems


def _advisories(
    components: list[installed.Component], sources: list[Path], table: dict[str, Any]
) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        ecosystems = {component.ecosystem for component in components}
        given = sources or advisories.fetch(ecosystems, Path(folder))
        found = advisories.findings(given, components)
    known = table["advisories"]
    accepted = [each for each in found if {each.id, *each.names} & set(known)]
    for finding in accepted:
        reason = next(known[name] for name in (finding.id, *finding.names) if name in known)
        print(f"accepted: {finding.component}: {finding.id}: {reason}")
    print(f"advisories: {len(components)} components, {len(found) - len(accepted)} found")
    return [f"advisory: {finding}" for finding in found if finding not in accepted]


if __name__ == "__main__":
    sys.exit(main([Path(each) for each in sys.argv[1:]]))
