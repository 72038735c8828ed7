"""Jobs outlive versions: older ones' are read, what can't be read of newer ones is named."""

import io
import json
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.contract.codec import (
    NEWEST_FORM,
    Added,
    Wire,
    decode,
    decode_document,
    encode,
    encode_json,
    form_of,
    sealed,
)
from camfleet.contract.geometry import Region
from camfleet.contract.messages import ExplainRequest, Reply
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.contract.records import ChunkRef, JobRecord, RetryRecord
from camfleet.contract.results import Result, Status
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import parquet

OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0"
BUCKET = OLD / "bucket"
JOBS = sorted(BUCKET.glob("jobs/*/job.json"))
RESULTS = sorted(BUCKET.glob("jobs/*/results/*/*.parquet"))
MANIFESTS = sorted(BUCKET.glob("jobs/*/manifest/*.parquet"))


class Inner(Wire, frozen=True, kw_only=True):
    size: int
    depth: Annotated[int | None, Added(2)] = None


class Outer(Wire, frozen=True, kw_only=True):
    name: str
    inner: Inner | None
    several: tuple[Inner, ...]
    label: Annotated[str, Added(3)] = ""


PLAIN = Outer(name="a", inner=Inner(size=1), several=(Inner(size=2), Inner(size=3)))


def test_what_uses_no_later_field_is_written_as_the_first_version_did():
    assert json.loads(encode_json(PLAIN)) == {
        "name": "a",
        "inner": {"size": 1},
        "several": [{"size": 2}, {"size": 3}],
    }
    assert form_of(PLAIN) == 1


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({"label": "x"}, 3),
        ({"inner": Inner(size=1, depth=5)}, 2),
        ({"several": (Inner(size=2), Inner(size=3, depth=0))}, 2),
        ({"several": (Inner(size=2, depth=1),), "label": "y"}, 3),
        ({"inner": None}, 1),
    ],
)
def test_a_later_field_that_is_used_is_written_and_says_the_form(changes, form):
    value = msgspec.structs.replace(PLAIN, **changes)
    assert form_of(value) == form
    assert decode(encode(value), Outer) == value


def test_a_later_field_that_is_missing_has_its_default():
    assert decode({"name": "a", "inner": {"size": 1}, "several": []}, Outer).label == ""


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.parent.name)
def test_a_record_of_version_0_1_0_is_read_and_would_be_written_the_same(path):
    record = decode_document(path.read_bytes(), JobRecord)
    assert record.schema_version == 1
    assert encode_json(sealed(record)) == path.read_bytes()


def test_a_retry_of_version_0_1_0_is_read_and_would_be_written_the_same():
    data = (BUCKET / "jobs/shapes/retries/00001.json").read_bytes()
    assert encode_json(sealed(decode_document(data, RetryRecord))) == data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"schema_version": 7, "needs": "0.9.0", "later": 1},
            r"JobRecord is written in form 7, which needs camfleet 0\.9\.0; this is 0\.2",
        ),
        ({"schema_version": 7}, "form 7, which needs camfleet of a newer version"),
        ({"later": 1}, "unknown field `later`.*a newer version of camfleet may have written it"),
        ({"schema_version": 0}, "schema_version"),
        ({"items": "many"}, r"\$\.items"),
    ],
)
def test_a_record_of_a_newer_version_is_refused_with_the_version_that_reads_it(changes, message):
    data = {**json.loads(JOBS[0].read_bytes()), **changes}
    with pytest.raises(InvalidRequest, match=message):
        decode_document(json.dumps(data).encode(), JobRecord)


def test_a_sealed_record_says_who_reads_it():
    record = sealed(decode_document(JOBS[0].read_bytes(), JobRecord), NEWEST_FORM)
    assert (record.schema_version, record.needs) == (NEWEST_FORM, "0.2.0")
    assert decode_document(encode_json(record), JobRecord) == record


def test_messages_of_version_0_1_0_are_read_and_would_be_sent_the_same():
    from base64 import b64decode

    for name, field, kind in (
        ("bulk", "ref", ChunkRef),
        ("interactive", "request", ExplainRequest),
    ):
        body = json.loads(b64decode(json.loads((OLD / f"message.{name}.json").read_text())["body"]))
        assert json.loads(encode_json(decode(body[1][field], kind))) == body[1][field]


def test_an_answer_of_version_0_1_0_is_read_and_would_be_given_the_same():
    reply = json.loads((OLD / "reply.json").read_text())
    assert json.loads(encode_json(decode(reply, Reply))) == reply


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-4:]))
def test_a_results_part_of_version_0_1_0_is_read_and_would_be_written_the_same(path):
    data = path.read_bytes()
    rows = parquet.read_results(data)
    assert all((row.status is Status.FAILED) == (row.error_code is not None) for row in rows)
    again = pq.read_table(io.BytesIO(parquet.write_results(rows, 0, form=1)))
    old = pq.read_table(io.BytesIO(data))
    assert again.schema.equals(old.schema)
    assert again.equals(old)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: "/".join(path.parts[-3:]))
def test_a_manifest_part_of_version_0_1_0_is_read_and_would_be_written_the_same(path):
    items = parquet.read_manifest(path.read_bytes())
    again = pq.read_table(io.BytesIO(parquet.write_items(items, 1)))
    assert again.equals(pq.read_table(path))


def file_of(table, version=None):
    """Return a table as a part that a version wrote; 0.1.0 didn't say its own."""
    metadata = {"camfleet.version": version} if version else {}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


@pytest.fixture
def table():
    return pq.read_table(RESULTS[2])


@pytest.mark.parametrize("column", ["logit", "map", "layer_maps", "geometry", "regions", "raw_uri"])
def test_a_nullable_column_that_an_older_version_did_not_know_is_null(table, column):
    rows = parquet.read_results(file_of(table.drop_columns([column])))
    assert [getattr(row, column) for row in rows] == [None] * table.num_rows
    with parquet.open_results(file_of(table.drop_columns([column]))) as part:
        some = part.read([column, "item_id"])
    assert some.schema == pa.schema(
        [parquet.RESULTS.field(column), parquet.RESULTS.field("item_id")]
    )
    assert some["item_id"].to_pylist() == table["item_id"].to_pylist()


def without_field(table, column, name):
    """Return a table whose column, structs or lists of structs, lacks a field."""
    values = table[column].to_pylist()

    def drop(value):
        if isinstance(value, list):
            return [drop(inner) for inner in value]
        return value and {key: inner for key, inner in value.items() if key != name}

    place = table.schema.get_field_index(column)
    return table.set_column(place, column, pa.array([drop(value) for value in values]))


def test_a_nullable_field_of_a_nested_column_that_an_older_version_did_not_know_is_null():
    whole = pq.read_table(BUCKET / "jobs/shapes/results/patches-0/part-00000.parquet")
    values = [row for row in whole.to_pylist() if row["regions"]]
    plain = pa.Table.from_pylist(values, schema=parquet.RESULTS)
    regions = [
        [{key: inner for key, inner in region.items() if key != "rle"} for region in row["regions"]]
        for row in values
    ]
    kind = pa.list_(
        pa.struct(
            [
                field
                for field in plain.schema.field("regions").type.value_type
                if field.name != "rle"
            ]
        )
    )
    place = plain.schema.get_field_index("regions")
    older = plain.set_column(place, "regions", pa.array(regions, kind))
    rows = parquet.read_results(file_of(older))
    assert rows
    assert {region.rle for row in rows for region in row.regions} == {None}
    assert all(isinstance(region, Region) for row in rows for region in row.regions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["item_id"]), "column 'item_id' is missing"),
        (lambda t: t.drop_columns(["timings"]), "column 'timings' is missing"),
        (
            lambda t: t.append_column("novelty", pa.array([1.0] * t.num_rows)),
            r"column 'novelty' is unknown: .* written by camfleet 0\.9\.0, this is 0\.2",
        ),
        (
            lambda t: t.set_column(0, "item_id", pa.array([1] * t.num_rows)),
            r"column 'item_id' is of type int64, not string: .* by camfleet 0\.9\.0, this is 0\.2",
        ),
        (lambda t: without_field(t, "geometry", "left"), "is of type|column 'left' is missing"),
    ],
)
def test_a_part_that_cannot_be_read_is_refused_by_column_with_the_version_that_can(
    table, change, message
):
    with pytest.raises(InvalidRequest, match=message):
        parquet.read_results(file_of(change(table), "0.9.0"))


def test_a_part_of_an_unnamed_version_says_so():
    table = pq.read_table(RESULTS[0]).append_column("novelty", pa.array([None] * 4, pa.string()))
    with pytest.raises(InvalidRequest, match=r"'novelty' is unknown: .*written by another ver"):
        parquet.read_results(file_of(table))


def test_what_is_no_parquet_is_refused():
    with pytest.raises(ObjectDamaged, match="not Parquet"):
        parquet.read_results(b"nothing")


def test_a_part_says_which_version_wrote_it():
    from camfleet import __version__

    data = parquet.write_results([], 3)
    metadata = pq.read_schema(io.BytesIO(data)).metadata
    assert metadata[b"camfleet.version"].decode() == __version__
    assert metadata[b"camfleet.retry"] == b"3"


def test_pictures_lie_where_version_0_1_0_put_them():
    from camfleet.jobstore import keys

    rows = parquet.read_results(
        (BUCKET / "jobs/cut-off/results/patches-0/part-00000.parquet").read_bytes()
    )
    row = rows[0]
    prefix = keys.explanation(
        row.image_uri, None, row.model_digest, "top", row.method, "auto", None, DEFAULT_OUTPUTS
    )
    assert row.heatmap_uri == f"s3://camfleet/{keys.picture(prefix, row.class_index, 'heatmap')}"
    assert isinstance(row, Result)


def test_only_what_asks_for_thumbnails_needs_a_version_that_knows_them():
    plain, small = DEFAULT_OUTPUTS, msgspec.structs.replace(DEFAULT_OUTPUTS, thumbnail=True)
    assert (form_of(plain), form_of(small)) == (1, 2)
    assert "thumbnail" not in encode(plain)
    record = decode_document(JOBS[0].read_bytes(), JobRecord)
    asked = sealed(msgspec.structs.replace(record, outputs=small))
    assert (asked.schema_version, asked.needs) == (2, "0.2.0")
    (row, *_) = parquet.read_results(RESULTS[0].read_bytes())
    drawn = msgspec.structs.replace(row, thumbnail_uri="s3://b/t.jpg")
    assert parquet.read_results(parquet.write_results([drawn], 0, form=2)) == [drawn]
    names = pq.read_schema(io.BytesIO(parquet.write_results([row], 0, form=1))).names
    assert "thumbnail_uri" not in names
