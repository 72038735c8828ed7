"""Manifests in every format and encoding, changed anywhere: they are read, or refused."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.test_documents import scribbled
from tests.fuzz.values import dumps, mutated, scalars, words
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS

ROWS = [
    {"image_uri": "s3://a/1.png", "target": "3", "id": "first", "inputs": '{"age": 1.0}'},
    {"image_uri": "a/../2.png", "target": 3.0, "id": None, "inputs": None},
    {"image_uri": "/3.png", "label": "rose", "boxes": "[[1, 2, 3, 4]]", "group": "g", "split": 1},
]
_bytes = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.one_of(
            st.binary(max_size=3),
            st.sampled_from(
                [b'"', b"\r", b"\n", b"\0", b",", b"\xef\xbb\xbf", b"\xff\xff\xff\x7f"]
            ),
        ),
        st.booleans(),
    ),
    max_size=3,
)
_encodings = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
_kept = st.sampled_from([[], [], ["split"], ["label", "boxes", "group", "split"]])


@pytest.fixture(scope="module")
def attacked():
    with victim("manifests", Limits(seconds=3, mib=60, per_byte=60)) as made:
        yield made


def manifest(suffix, keep, data):
    return json.dumps([suffix, keep]).encode() + b"\n" + data


def as_csv(rows, encoding):
    file = io.StringIO()
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    writer = csv.writer(file)
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name) for name in names] if isinstance(row, dict) else [row])
    return file.getvalue().encode(encoding, "replace")


def as_parquet(rows, **options):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_that_nobody_has_changed_is_read(suffix, attacked):
    plain = [{"image_uri": "s3://a/1.png", "target": "3", "id": "first", "inputs": '{"age": 1.0}'}]
    written = {
        ".csv": as_csv(plain, "utf-8"),
        ".jsonl": dumps(plain[0]),
        ".parquet": as_parquet(plain),
    }
    assert attacked.attack(manifest(suffix, [], written[suffix])).taken


@examples(150)
@given(mutated([ROWS, ROWS[:1]]), _kept, _encodings, _bytes)
def test_no_csv_does_harm(attacked, rows, keep, encoding, edits):
    attacked.attack(manifest(".csv", keep, scribbled(as_csv(rows, encoding), edits)))


@examples(150)
@given(mutated([ROWS, ROWS[:1]]), _kept, _encodings, _bytes)
def test_no_jsonl_does_harm(attacked, rows, keep, encoding, edits):
    text = b"\n".join(map(dumps, rows)).decode()
    attacked.attack(manifest(".jsonl", keep, scribbled(text.encode(encoding), edits)))


_cells = st.one_of(
    st.lists(words, min_size=1, max_size=3),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=3),
    st.lists(st.floats(), min_size=1, max_size=3),
    st.lists(st.binary(max_size=4), min_size=1, max_size=3),
    st.lists(st.lists(st.integers(0, 9), max_size=2), min_size=1, max_size=3),
    st.lists(st.fixed_dictionaries({"a": st.floats()}), min_size=1, max_size=3),
    st.lists(st.datetimes(), min_size=1, max_size=2),
    st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=2),
    st.lists(scalars.filter(lambda value: value is None), min_size=1, max_size=2),
)
_names = st.sampled_from(["image_uri", "target", "id", "inputs", "split", "boxes", "other", ""])


@examples(150)
@given(
    st.lists(st.tuples(_names, _cells), min_size=1, max_size=5),
    _kept,
    st.sampled_from([{}, {"compression": "zstd"}, {"use_dictionary": False}, {"version": "1.0"}]),
    _bytes,
    st.one_of(st.none(), st.integers(0, 3000)),
)
def test_no_parquet_does_harm(attacked, columns, keep, options, edits, end):
    rows = max(len(cells) for _, cells in columns)
    arrays = [_array((cells * rows)[:rows]) for _, cells in columns]
    arrays = [pa.array(["a"] * rows), *arrays]
    file = io.BytesIO()
    names = ["image_uri", *(name for name, _ in columns)]
    pq.write_table(pa.Table.from_arrays(arrays, names), file, **options)
    attacked.attack(manifest(".parquet", keep, scribbled(file.getvalue(), edits)[:end]))


def _array(cells):
    """Return cells as Arrow takes them: text that isn't UTF-8 as the bytes that it would be."""
    if isinstance(cells[0], str):
        return pa.array([cell.encode("utf-8", "surrogatepass") for cell in cells]).view("string")
    return pa.array(cells)
