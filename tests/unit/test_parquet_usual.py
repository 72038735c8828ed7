"""What patterns find in footers and pages is what reading them field by field finds."""

import io
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.jobstore import parquet, parquet_pages, parquet_usual
from camfleet.jobstore.parquet_pages import Untrue, groups, pages
from helpers.rows import blob, row

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "bucket" / "jobs"
NOTHING = re.compile(b"(?!)")
PATTERNS = ("_chunk", "_data_page", "_dictionary")


def part(rows=60, form=2):
    rng = np.random.default_rng(0)
    made = [row(number, blob(rng, (7, 7)), number % 7) for number in range(rows - 1)]
    return parquet.write_results([*made, row("gone")], 0, form)


def otherwise(**options):
    """Return the rows of a part as another writer of Parquet may write them."""
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(part())), sink, **options)
    return sink.getvalue()


PARTS = {
    "ours": part(),
    "form 1": part(form=1),
    "long texts": parquet.write_results([row("x" * 300), row("y" * 80)], 0, 2),
    "no statistics": otherwise(write_statistics=False),
    "no dictionaries": otherwise(use_dictionary=False, compression="none"),
    "version 2 pages": otherwise(data_page_version="2.0", compression="snappy"),
    "groups": otherwise(row_group_size=7),
    "page index": otherwise(write_page_index=True, write_page_checksum=True),
    "0.1.0": next(iter(sorted(FIXTURES.rglob("results/**/*.parquet")))).read_bytes(),
}


def described(data):
    """Return what a file says of its columns and their pages, or that it's untrue."""

    def read(place, size):
        return data[place : place + size]

    try:
        found = groups(read, len(data), 2**20, 2**10)
        columns = [column for group in found for column in group.columns]
        return found, [list(pages(read, len(data), column)) for column in columns]
    except Untrue:
        return "untrue"


def field_by_field(data, monkeypatch):
    with monkeypatch.context() as patched:
        for name in PATTERNS:
            patched.setattr(parquet_usual, name, lambda: NOTHING)
        return described(data)


@pytest.mark.parametrize("name", PARTS)
def test_patterns_find_what_the_fields_say(name, monkeypatch):
    found = described(PARTS[name])
    assert found == field_by_field(PARTS[name], monkeypatch)
    assert found != "untrue"


@pytest.mark.parametrize("name", ["ours", "form 1", "page index"])
def test_patterns_find_nothing_else_in_what_somebody_changed(name, monkeypatch):
    whole = PARTS[name]
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = random.Random(0)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 2)):
            place = rng.choice([rng.randrange(len(whole)), rng.randrange(start, len(whole) - 8)])
            changed[place] = rng.choice([0, 1, 0x15, 0x1C, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        found = described(bytes(changed))
        assert found == field_by_field(bytes(changed), monkeypatch)
        outcomes.add(found == "untrue")
    assert outcomes == {True, False}


def test_all_that_is_written_here_is_found_by_patterns(monkeypatch):
    def unusual(*_):
        raise AssertionError("it's read field by field")

    monkeypatch.setattr(parquet_usual, "read_value", unusual)
    monkeypatch.setattr(parquet_pages, "_described", unusual)
    assert described(PARTS["ours"]) != "untrue"


def test_files_of_other_columns_are_read_in_turn():
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), sink)
    for _ in range(2):
        (group,), _ = described(sink.getvalue())
        assert [column.path for column in group.columns] == ["a", "b"]
        (group,), _ = described(PARTS["ours"])
        paths = [column.path for column in group.columns]
        assert "geometry.left" in paths
        assert "map.list.element" in paths


def test_fields_of_structs_are_read_alone():
    wanted = {"geometry": ("left", "image_width"), "focus": ("border_share",)}
    for form in (1, 2):
        with parquet.open_results(part(9, form)) as file:
            found = file.read(["focus", "geometry", "label", "rank"], wanted)
            whole = file.read()
        assert found.column_names == ["focus", "geometry", "label", "rank"]
        assert [field.name for field in found.schema.field("geometry").type] == [
            "image_width",
            "left",
        ]
        for row_of, all_of in zip(found.to_pylist(), whole.to_pylist(), strict=True):
            for name, value in row_of.items():
                if value is not None and name in wanted:
                    assert value == {inner: all_of[name][inner] for inner in wanted[name]}
                else:
                    assert value == all_of[name]
