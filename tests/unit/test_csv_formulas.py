"""What a spreadsheet would run as a formula is a text in CSV; other formats hold it as it is."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.results.export import FORMATS, write_exact_csv

FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "-2+3+cmd|' /C calc'!D2",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\tplain",
    "\rplain",
    "\nplain",
    " =1",
    "\0=1",
    "\xa0=1",
    "\u200b=1",
    "\ufeff=1",
    "\x1b=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "=1;=2",
    "=https://h/a.png",
    "-rose",
]
PLAIN = ["rose", "a=b", "1+1", "s3://b/-k.png", "/=a", "'=1", " rose", "ä", '"=1"', "{}", "", None]


def table(texts):
    count = len(texts)
    nested = pa.array([{"inner": text} for text in texts], pa.struct([("inner", pa.string())]))
    numbers = pa.array([-float(place) for place in range(count)], pa.float64())
    return pa.table({"text": pa.array(texts, pa.string()), "number": numbers, "nested": nested})


def written(write, made):
    sink = io.BytesIO()
    write(iter([made]), made.schema, sink)
    return sink.getvalue()


def cells(data):
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_a_formula_has_an_apostrophe_before_it(text):
    made = table([text])
    assert cells(written(FORMATS["csv"], made))[0]["text"] == f"'{text}"
    assert cells(written(write_exact_csv, made))[0]["text"] == text
    line = json.loads(written(FORMATS["json"], made))
    assert line["text"] == line["nested"]["inner"] == text
    read = pq.read_table(pa.BufferReader(written(FORMATS["parquet"], made)))
    assert read.to_pylist() == made.to_pylist()


def test_other_texts_numbers_and_nested_values_stay_as_they_are():
    made = table(PLAIN)
    assert written(FORMATS["csv"], made) == written(write_exact_csv, made)
    found = cells(written(FORMATS["csv"], table(["=1", "=2"])))
    assert [row["number"] for row in found] == ["-0", "-1"]
    assert [json.loads(row["nested"]) for row in found] == [{"inner": "=1"}, {"inner": "=2"}]


@given(st.lists(st.text(), min_size=1))
def test_every_text_comes_back_from_csv_but_for_the_apostrophe(texts):
    made = table(texts)
    exact = [row["text"] for row in cells(written(write_exact_csv, made))]
    safe = [row["text"] for row in cells(written(FORMATS["csv"], made))]
    assert exact == texts
    for text, cell in zip(texts, safe, strict=True):
        assert cell in (text, f"'{text}")
        assert cell[:1] not in tuple("=+-@\t\r\n")
        assert cell.strip("\0\x1b \t\r\n\xa0")[:1] not in tuple("=+-@")


def test_a_line_of_json_is_a_line_for_every_reader():
    text = "a\u2028b\x85c\x9b31m\u202e\x7f\u200b"
    data = written(FORMATS["json"], table([text, text])).decode()
    assert len(data.splitlines()) == 2
    assert [json.loads(line)["text"] for line in data.splitlines()] == [text, text]
    assert data.replace("\n", "").isprintable()
