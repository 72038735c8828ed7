"""Rows and columns selected from results parts, and the same rows in every format."""

import csv
import io
import itertools
import json
import os

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.broker.ledger import Ledger
from camfleet.contract.codec import encode_json
from camfleet.contract.geometry import Focus
from camfleet.contract.records import ModelRef
from camfleet.contract.results import LayerMap, Result, Status, Timings
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobs.job import Job
from camfleet.jobstore import keys, parquet
from camfleet.results.export import FORMATS, first, flat
from camfleet.results.query import Selection
from camfleet.results.read import select
from camfleet.storage.storage import Storage
from camfleet.whole import whole_file
from helpers.records import job_record

EMPTY = {
    **dict.fromkeys(Result.__struct_fields__),
    **dict.fromkeys(("image_uri", "model_id", "model_version", "model_digest", "method"), "x"),
    "target": "top",
    "rank": 0,
    "status": Status.OK,
    "timings": Timings(fetch=1, decode=0.5, explain=2, render=0, store=0),
}
MODELS = tuple(
    ModelRef(id=name, version=version, digest="0" * 64)
    for name, version in (("cats", "1"), ("cats", "2"), ("dogs", "1"))
)


def result(item_id, **fields):
    return Result(**{**EMPTY, "item_id": item_id, **fields})


ROWS = [
    result("a", class_index=7, class_name="seven", probability=0.25, image_uri="s3://b/x/a.png"),
    result("a", class_index=1, class_name="7", probability=0.5, rank=1, status="no_evidence"),
    result("b", class_index=2, class_name="two", probability=1.0, image_uri="s3://b/y/a.png"),
    result("c", status="failed", error_code="image_not_found", error_message='no "c",\nnowhere'),
    result("d", status="failed", error_code="image_too_large", error_message="große Größe"),
    result(
        "e",
        focus=Focus(peak_x=1, peak_y=2.5, centre_x=3, centre_y=4, border_share=0.1),
        map=(0.5, -1.0, 2.0),
        layer_maps=(
            LayerMap(layer="x", grid_height=1, grid_width=1, raw_max=1, map_scale=1, map=(1,)),
        ),
    ),
]


def record(parts=2, job_id="unsent"):
    return job_record(job_id, created_at=0, models=MODELS, items=parts, parts=parts)


def selected(columns=None, **filters):
    """Return what is selected of a part that holds `ROWS`."""
    selection = Selection.of(record(), columns, filters)
    return select(parquet.write_results(ROWS, 0), selection)


@pytest.mark.parametrize(
    ("filters", "items"),
    [
        ({}, "aabcde"),
        ({"status": "ok"}, "abe"),
        ({"status": [Status.NO_EVIDENCE, "failed"]}, "acd"),
        ({"status": None}, "aabcde"),
        ({"code": "image_not_found"}, "c"),
        ({"code": {"image_not_found", "image_too_large"}}, "cd"),
        ({"class_": 7}, "a"),
        ({"class_": "7"}, "a"),
        ({"class_": ["two", 1]}, "ab"),
        ({"class_": "label:7", "rank": 0}, ""),
        ({"class_": "label:7"}, "a"),
        ({"rank": 1}, "a"),
        ({"rank": (0, 1), "item": "a"}, "aa"),
        ({"min_probability": 0.5}, "ab"),
        ({"max_probability": 0.5}, "aa"),
        ({"min_probability": 0}, "aab"),
        ({"min_probability": 0.3, "max_probability": 0.9}, "a"),
        ({"item": iter("be")}, "be"),
        ({"image": "/a.png"}, "ab"),
        ({"image": ".*"}, ""),
        ({"status": "ok", "image": "/y/"}, "b"),
        ({"status": "ok", "code": "image_not_found"}, ""),
    ],
)
def test_a_row_is_selected_where_it_passes_all_filters(filters, items):
    table, failed = selected(**filters)
    assert "".join(table["item_id"].to_pylist()) == items
    assert table.schema == parquet.RESULTS
    assert failed == 2, "failed images are counted whether they are selected or not"


def test_selected_rows_are_whole():
    assert parquet.to_results(selected()[0]) == ROWS
    assert parquet.to_results(selected(item="e")[0]) == ROWS[-1:]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"stat": "ok"}, "no filter 'stat'; the filters are status, code, model, class_"),
        ({"status": "done"}, "filter status: .*'done'"),
        ({"rank": -1}, "filter rank"),
        ({"rank": True}, "filter rank"),
        ({"min_probability": 1.5}, "filter min_probability"),
        ({"min_probability": "high"}, "filter min_probability"),
        ({"class_": "top:3"}, "'top:3' is neither a class index nor a label"),
        ({"class_": "not:7"}, "'not:7' is neither a class index nor a label"),
        ({"class_": -1}, "filter class_"),
        ({"code": 404}, "filter code"),
        ({"image": ["a", "b"]}, "filter image"),
        ({"model": "birds"}, "no model 'birds'; it was run with cats@1, cats@2, dogs@1"),
    ],
)
def test_a_wrong_filter_is_named(filters, message):
    with pytest.raises(InvalidRequest, match=message):
        selected(**filters)


def test_columns_come_in_the_order_asked_for_and_once():
    table, _ = selected(["status", "item_id", "status"], min_probability=0.9)
    assert table.to_pydict() == {"status": ["ok"], "item_id": ["b"]}


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(InvalidRequest, match=r"no column 'prob'; the columns are item_id, .*timin"):
        selected(["item_id", "prob"])


def test_the_columns_that_hold_maps_are_known():
    assert parquet.MAPS == ("map", "layer_maps")


def written(form, found, schema=parquet.RESULTS):
    sink = io.BytesIO()
    FORMATS[form](iter(found), schema, sink)
    return sink.getvalue()


def same(cell, value):
    """Say whether the text of a CSV cell stands for a JSON value."""
    if value is None or isinstance(value, str):
        return cell == (value or "")
    return json.loads(cell) == value


def test_all_formats_hold_the_same_rows():
    found = [selected(status="ok")[0], selected(status="failed")[0]]
    objects = [json.loads(line) for line in written("json", found).splitlines()]
    assert objects == json.loads(msgspec.json.encode([ROWS[0], ROWS[2], ROWS[5], *ROWS[3:5]]))
    read = pq.read_table(pa.BufferReader(written("parquet", found)))
    assert read.schema == parquet.RESULTS
    assert read.to_pylist() == objects
    lines = list(csv.DictReader(io.StringIO(written("csv", found).decode(), newline="")))
    assert len(lines) == len(objects)
    for line, row in zip(lines, objects, strict=True):
        assert list(line) == list(row) == parquet.RESULTS.names
        assert [name for name in row if not same(line[name], row[name])] == []


def test_a_nested_value_is_json_in_a_cell_and_null_is_none():
    focus = flat(selected(["focus"])[0])["focus"].to_pylist()
    assert focus[0] is None
    assert json.loads(focus[-1])["peak_y"] == 2.5


@pytest.mark.parametrize("form", FORMATS)
def test_no_rows_make_a_file_that_can_be_read(form):
    schema = parquet.columns(["item_id", "timings"])
    data = written(form, [], schema)
    if form == "parquet":
        table = pq.read_table(pa.BufferReader(data))
        assert (table.schema, table.num_rows) == (schema, 0)
    else:
        assert data == {"csv": b'"item_id","timings"\n', "json": b""}[form]


def test_many_small_parts_share_a_row_group():
    one = selected(["item_id"], item="b")[0]
    empty = one.slice(0, 0)
    data = written("parquet", itertools.chain([empty], [one] * 300, [empty]), one.schema)
    file = pq.ParquetFile(pa.BufferReader(data))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (300, 1)


def test_a_limit_ends_within_a_part_and_reads_no_further():
    def stream():
        yield selected(["item_id"])[0]
        yield selected(["item_id"])[0]
        pytest.fail("a part too many was read")

    found = first(stream(), 8)
    assert [table.num_rows for table in found] == [6, 2]
    assert sum(table.num_rows for table in first([selected()[0]] * 2, None)) == 12


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "rows.csv"
    with whole_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_still_there_and_no_half_of_the_new_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(b"%d" % (1 / 0))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_a_pipe_is_written_as_it_goes(tmp_path):
    real, link, pipe = (tmp_path / name for name in ("real", "link", "pipe"))
    link.symlink_to(real)
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as file:
        file.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "none" / "rows.csv"
    message = r"none/rows\.csv can't be written: No such file"
    with pytest.raises(InvalidRequest, match=message), whole_file(path):
        pytest.fail("nothing to write into")


@pytest.fixture(scope="module")
def job(settings):
    """Write a job of three models and six parts each, of which the third is missing."""
    storage, ledger = Storage(settings), Ledger(settings)
    made = record(parts=6, job_id="exported")
    storage.put(keys.job(made.job_id), encode_json(made), "application/json")
    for ref in made.refs():
        if ref.part != 2:
            name = MODELS[ref.model].id
            rows = [result(f"{ref.model}.{ref.part}", model_id=name, rank=ref.part % 2)]
            data = parquet.write_results(rows, 0)
            storage.put(keys.results_part(made, ref), data, "application/vnd.apache.parquet")
    yield Job(made.job_id, storage, ledger)
    storage.delete([*storage.keys(keys.folder(made.job_id))])
    storage.close()
    ledger.close()


def items(models):
    return [f"{model}.{part}" for model in models for part in (0, 1, 3, 4, 5)]


def test_results_come_model_by_model_without_the_parts_that_are_missing(job):
    assert [row.item_id for row in job.results()] == items([0, 1, 2])
    assert [row.item_id for row in job.results(rank=1, model="cats@2")] == ["1.1", "1.3", "1.5"]


def test_tables_hold_the_columns_asked_for_and_parts_without_rows_are_left_out(job):
    found = list(job.tables(["rank", "item_id"], rank=1, model=["dogs"]))
    assert [table.to_pylist() for table in found] == [
        [{"rank": 1, "item_id": f"2.{part}"}] for part in (1, 3, 5)
    ]


def test_only_parts_of_the_chosen_model_are_read(job):
    broken = next(ref for ref in job.record().refs() if ref.model == 2)
    key = keys.results_part(job.record(), broken)
    kept = job._storage.get(key).data
    job._storage.put(key, b"broken", "x/y")
    try:
        assert [row.item_id for row in job.results(model="cats")] == items([0, 1])
        with pytest.raises(ObjectDamaged, match=f"{key}.*not Parquet"):
            list(job.results())
    finally:
        job._storage.put(key, kept, "x/y")
