"""The documents against the code: links, tables, columns, codes, rooms, options and settings."""

import dataclasses
import json
import re
from typing import get_args, get_type_hints

import click
import msgspec
import pytest
from dependencies import __main__ as audit
from tests.unit import test_architecture as architecture

from camfleet import errors
from camfleet.broker.progress import Progress
from camfleet.cli import explain, group
from camfleet.contract import lanes
from camfleet.contract.outputs import PICTURES
from camfleet.contract.results import LayerMap, Pack, Region, Result, Status
from camfleet.gateway.prometheus import Metrics
from camfleet.jobstore import keys
from camfleet.jobstore.parquet import RESULTS
from camfleet.registry import cards
from camfleet.settings import Settings, variable
from camfleet_worker.process.python import FIXED_SINCE
from helpers import documents
from helpers.documents import ROOT, bare, name_of, tables

DOCS = ROOT / "docs"
RESULTS_PAGE = DOCS / "results.md"
COLUMN_TABLES = (
    "Who and what",
    "What the model says",
    "The map",
    "Geometry",
    "Focus",
    "Regions",
    "Pictures and times",
    "Columns of the manifest",
    "What the model itself ranks first",
    "Precision",
)
FROM_PYPI = r"pip install (\S+ )*'?camfleet(\[|'|\s|$)"
ARROW = {"double": "float64", "float": "float32", "halffloat": "float16"}
# Options in prose that are another program's.
FOREIGN_OPTIONS = {"--concurrency", "--loglevel", "--logfile"}
FOREIGN_OPTIONS |= {"--allow-unmatched-labels", "--conf-threshold", "--conv-mask-to-poly"}

every_page = pytest.mark.parametrize("page", documents.PAGES, ids=name_of)


@every_page
def test_a_link_leads_somewhere(page):
    for link in documents.links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in documents.anchors(target), link


@every_page
def test_every_row_of_a_table_has_as_many_cells_as_its_header(page):
    width = 0
    for line in documents.prose(page):
        if not line.startswith("|"):
            width = 0
            continue
        assert line.endswith("|"), line
        width = width or line.count("|")
        assert line.count("|") == width, line


@every_page
def test_a_file_that_is_named_exists(page):
    places = [ROOT, page.parent, architecture.PRODUCER, architecture.WORKER]
    for text in documents.code(page):
        if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|lua|yml)", text):
            assert any((place / text).is_file() for place in places), text
        if re.fullmatch(r"test_\w+\.py", text):
            assert list((ROOT / "tests").glob(f"*/{text}")), text


@every_page
def test_a_command_in_prose_exists_with_its_options(page):
    for text in documents.code(page):
        words = text.split()
        if words[0] == "camfleet" and words[1:]:
            assert isinstance(_command(words[1:]), click.Command), text
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", text):
            assert option in _options() | FOREIGN_OPTIONS, text


@every_page
def test_a_setting_that_is_named_exists(page):
    known = {variable(field) for field in dataclasses.fields(Settings)}
    known |= {f"{variable(field)}_FILE" for field in dataclasses.fields(Settings) if not field.repr}
    assert set(re.findall(r"CAMFLEET_[A-Z0-9_]+", page.read_text("utf-8"))) <= known


@every_page
def test_nothing_is_installed_from_pypi_where_it_is_not(page):
    assert not re.search(FROM_PYPI, page.read_text("utf-8"))


def test_no_message_suggests_to_install_it_from_pypi():
    sources = [*(ROOT / "producer").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]
    assert sources
    assert not [path for path in sources if re.search(FROM_PYPI, path.read_text("utf-8"))]


def test_the_readme_stays_short_and_leads_to_every_page():
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 200
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in documents.links(readme)}
    assert {*documents.PAGES, ROOT / "CHANGELOG.md"} - {readme, documents.SECURITY} <= linked


def test_upgrading_md_names_every_queue_that_workers_ask():
    queues = {queue for kind in lanes.KINDS for queue in lanes.queues_of(kind)}
    named = {text for text in documents.code(DOCS / "upgrading.md") if text.startswith("camfleet.")}
    assert queues <= named


def test_upgrading_md_names_every_variable_that_0_1_0_does_not_know():
    known = (ROOT / "tests" / "fixtures" / "v0.1.0" / "variables.txt").read_text().split()
    now = {variable(field) for field in dataclasses.fields(Settings)}
    text = (DOCS / "upgrading.md").read_text()
    step = text.partition("3. Give the new variables")[2].partition("4. For each worker")[0]
    assert set(re.findall(r"CAMFLEET_[A-Z0-9_]+", step)) == now - set(known)


def test_security_md_has_the_patch_of_every_python_that_workers_want():
    rows = tables(documents.SECURITY)["Python"]
    documented = {row[0]: row[1] for row in rows[1:] if re.fullmatch(r"3\.\d+", row[0])}
    assert documented == {
        f"{major}.{minor}": f"{major}.{minor}.{patch}"
        for (major, minor), patch in FIXED_SINCE.items()
    }


def test_security_md_names_a_test_for_every_threat_and_the_exit_codes_of_the_scan():
    for threat, _, tests in tables(documents.SECURITY)["What is defended by what"][1:]:
        assert re.search(r"`tests/[\w/]+\.py`", tests), threat
    codes = tables(documents.SECURITY)["Scanning dependencies"][1:]
    assert [int(row[0]) for row in codes] == [audit.CLEAN, audit.NOT_SCANNED, audit.FOUND]


def test_results_md_has_every_column_with_its_type_in_order():
    documented = [(bare(row[0]), row[1]) for row in _columns()]
    assert documented == list(_schema(RESULTS))


def test_results_md_says_of_every_column_whether_it_may_be_null():
    kinds = {"": Result, "layer_maps[].": LayerMap, "regions[].": Region, "pack.": Pack}
    for name, _, _, null in _columns():
        prefix, _, field = bare(name).rpartition(".")
        kind = kinds.get(f"{prefix}." if prefix else "")
        optional = kind is not None and type(None) in get_args(_fields(kind)[field])
        assert (null != "never") == optional, name


def test_results_md_has_every_status_and_every_error_with_its_code():
    statuses = [bare(row[0]) for row in tables(RESULTS_PAGE)["Statuses"][1:]]
    assert statuses == list(map(str, Status))
    rows = [row for row in tables(RESULTS_PAGE)["Error codes"] if row[0] != "code"]
    documented = [(bare(code), bare(name)) for code, name, _ in rows]
    assert sorted(documented) == sorted(
        (kind.code, kind.__name__) for kind in errors._tree(errors.CamfleetError)
    )


def test_results_md_has_every_field_of_a_jobs_progress():
    named = " ".join(row[0] for row in tables(RESULTS_PAGE)["Progress"][1:])
    of_the_command = {"failure_messages", "waits"}
    assert set(re.findall(r"`(\w+)`", named)) == {
        *Progress.__struct_fields__,
        *of_the_command,
        "done",
    }


def test_results_md_says_what_a_failed_answer_has():
    row = explain._failed("a.png", "net", errors.ImageNotFound("gone"))
    given = ", ".join(f"`{name}`" for name, value in row.items() if value is not None)
    *names, last = given.split(", ")
    said = " ".join(RESULTS_PAGE.read_text().split())
    assert f"except {', '.join(names)} and {last}." in said


def test_jobs_md_has_every_picture_and_a_callback_of_the_jobs_own_words():
    page = DOCS / "jobs.md"
    assert [bare(row[0]) for row in tables(page)["Pictures"][1:]] == list(PICTURES)
    (block,) = (each for each in documents.blocks(page) if each.language == "json")
    data = json.loads(block.text)["data"]
    assert set(data) < set(Progress.__struct_fields__)


def test_models_md_has_every_field_of_a_card_with_its_default():
    documented = {}
    for names, default, _ in tables(DOCS / "models.md")["The card"][1:]:
        for name in re.findall(r"`([\w.]+)`", names):
            documented[name] = None if default in ("required", "none") else default.strip("`")
    assert documented == {
        **_defaults(cards.Card, but=("input", "preprocessing", "inputs", "golden")),
        **_defaults(cards.CardInput, "input."),
        **_defaults(cards.Preprocessing, "preprocessing."),
        **_defaults(cards.OtherInput, "inputs.NAME."),
        **_defaults(cards.Golden, "golden."),
    }


def test_models_md_has_every_mode_of_preprocessing():
    modes = [bare(row[0]) for row in tables(DOCS / "models.md")["Preprocessing"][1:]]
    assert sorted(modes) == sorted(get_args(_fields(cards.Preprocessing)["mode"]))


def test_architecture_md_draws_the_rooms_as_they_stand():
    producer, worker = (
        re.findall(r"^  (\S+)", block.text, re.MULTILINE)
        for block in documents.blocks(DOCS / "architecture.md")
    )
    rooms = (*architecture.ABOVE_THE_LINE, "------", *architecture.BELOW_THE_LINE)
    assert producer == [*rooms, *architecture.GROUND]
    assert worker == list(architecture.WORKER_ROOMS)


def test_operating_md_says_of_every_prefix_of_the_bucket_whether_a_rule_may_delete_it():
    rows = tables(DOCS / "operating.md")["Deleting jobs"][1:]
    named = {
        prefix.split("/")[0] + "/" for row in rows for prefix in re.findall("`([^`]+)`", row[0])
    }
    assert named == set(keys.RESERVED)


def test_operating_md_names_metrics_that_exist():
    homes = ("prometheus.py", "scraped.py")
    source = "".join((architecture.WORKER / home).read_text() for home in homes)
    named = [
        name
        for row in tables(DOCS / "operating.md")["Of a worker"][1:]
        for name in re.findall(r"`camfleet_(\w+)", row[0])
    ]
    assert len(named) > 10
    for name in named:
        parts = (name, re.sub(r"model_cache_(\w+)_total", r"\1", name))
        assert any(f'{part}"' in source for part in parts), name


def test_operating_md_names_every_metric_of_a_gateway():
    named = {
        name
        for row in tables(DOCS / "operating.md")["Of a gateway"][1:]
        for name in re.findall(r"`(camfleet_\w+)", row[0])
    }
    found = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in Metrics().registry.collect()
    }
    assert named == {name for name in found if name.startswith("camfleet_")}


def _columns():
    """Return the rows of the tables of columns: name, type, meaning, null."""
    found = tables(RESULTS_PAGE)
    return [row for title in COLUMN_TABLES for row in found[title] if row[0] != "column"]


def _schema(fields, prefix=""):
    """Yield name and type of all columns and their fields, in the documents' words."""
    for field in fields:
        yield prefix + field.name, _type(field.type)
        inner = field.type
        mark = "."
        if re.match(r"list<\w+: struct", str(inner)):
            inner, mark = inner.value_type, "[]."
        if str(inner).startswith("struct"):
            yield from _schema(inner, f"{prefix}{field.name}{mark}")


def _type(kind):
    text = str(kind)
    if text.startswith("struct"):
        return "struct"
    if match := re.fullmatch(r"list<\w+: (.*)>", text):
        inner = match[1]
        if inner.startswith("struct"):
            return "list of structs"
        deeper = re.fullmatch(r"list<\w+: (\w+)>", inner)
        return f"list of lists of {ARROW[deeper[1]]}" if deeper else f"list of {ARROW[inner]}"
    return ARROW.get(text, text)


def _fields(kind):
    return get_type_hints(kind)


def _defaults(kind, prefix="", but=()):
    """Return the default of each field as a card would write it, None where there's none."""
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.name not in but:
            given = not (field.required or field.default in (None, ()))
            found[prefix + field.encode_name] = json.dumps(field.default) if given else None
    return found


def _command(words):
    """Return the command that words of the command line name."""
    command = group
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        command = command.get_command(click.Context(command), word)
        assert command, word
    return command


def _options(command=None):
    """Return every option of a command and of those below it."""
    command = command or group
    found = {"--help"}
    for option in command.params:
        found.update(option.opts, option.secondary_opts)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found |= _options(command.get_command(click.Context(command), name))
    return found


def test_results_list_columns_says_what_results_md_does():
    from camfleet.results.columns import columns

    def plain(text):
        without_links = re.sub(r": see \[[^\]]+\]\([^)]*\)$", "", text)
        return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", without_links).replace("`", "")

    documented = [(bare(name), kind, plain(meaning)) for name, kind, meaning, _ in _columns()]
    assert list(map(tuple, columns())) == documented
