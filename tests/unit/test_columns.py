"""Columns of manifests: marks and separators in them, whole numbers, and those that are kept."""

import csv
import datetime as dt
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from camfleet.contract.codec import form_of
from camfleet.contract.columns import parse_boxes, parse_columns
from camfleet.contract.records import Item
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest
from camfleet.jobstore import parquet
from camfleet.results import kept as kept_columns
from camfleet.sources.duplicates import Unique
from camfleet.sources.sources import items, stream
from helpers import producers as samples

MARK = "\ufeff"
SEPARATORS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def read(path, keep=(), on_broken=None):
    return list(items(str(path), None, on_broken, keep=keep))


def write_csv(path, rows, columns, end="\r\n", start=""):
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(start)
        writer = csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows(rows)


def write_jsonl(path, rows, columns, start=""):
    lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
    path.write_bytes((start + "\n".join(lines)).encode())


def write_parquet(path, rows, columns, start=""):
    names = [start + columns[0], *columns[1:]]
    values = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(names, map(list, values), strict=True))), path)


WRITERS = {"m.csv": write_csv, "m.jsonl": write_jsonl, "m.parquet": write_parquet}
every_format = pytest.mark.parametrize("name", WRITERS)


@every_format
def test_a_byte_order_mark_belongs_to_no_column(tmp_path, name):
    WRITERS[name](tmp_path / name, [("s3://b/1.jpg", "3")], ("image_uri", "target"), start=MARK)
    (item,) = read(tmp_path / name)
    assert (item.image_uri, item.target) == ("s3://b/1.jpg", "3")


def test_a_byte_order_mark_that_two_tools_left_belongs_to_no_column_either(tmp_path):
    write_csv(tmp_path / "m.csv", [("s3://b/1.jpg",)], ("image_uri",), start=MARK * 2)
    (tmp_path / "m.jsonl").write_text(json.dumps({f"{MARK}image_uri": "s3://b/1.jpg"}))
    for name in ("m.csv", "m.jsonl"):
        assert read(tmp_path / name)[0].image_uri == "s3://b/1.jpg"


def test_text_that_is_not_utf_8_is_refused_with_the_way_out(tmp_path):
    for name, text in (("m.csv", "image_uri\na.jpg\n"), ("m.jsonl", '{"image_uri": "a.jpg"}\n')):
        (tmp_path / name).write_bytes(text.encode("utf-16"))
        with pytest.raises(InvalidRequest, match=r"UTF-8"):
            read(tmp_path / name)


texts = st.text(
    st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from(SEPARATORS)),
    min_size=1,
    max_size=30,
)


@given(
    values=st.lists(texts, min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    start=st.sampled_from(["", MARK]),
)
@example(values=list(SEPARATORS), end="\n", start=MARK)
def test_any_text_survives_csv_and_lines_of_json(values, end, start):
    rows = [(f"s3://b/{number}", value) for number, value in enumerate(values)]
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder, "m.csv"), rows, ("image_uri", "id"), end, start)
        write_jsonl(Path(folder, "m.jsonl"), rows, ("image_uri", "id"), start)
        for name in ("m.csv", "m.jsonl"):
            found = read(Path(folder, name))
            assert [item.item_id for item in found] == values
            assert [item.image_uri for item in found] == [uri for uri, _ in rows]


@every_format
@pytest.mark.parametrize(
    ("text", "target"),
    [("1.0", "1"), ("12.00", "12"), ("0.0", "0"), ("label:1.0", "label:1.0"), ("v1.0", "v1.0")],
)
def test_a_whole_number_that_pandas_wrote_is_a_class_index(tmp_path, name, text, target):
    rows = [("s3://b/1.jpg", text), ("s3://b/2.jpg", "")]
    WRITERS[name](tmp_path / name, rows, ("image_uri", "target"))
    assert [item.target for item in read(tmp_path / name)] == [target, None]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_column_that_comes_twice_is_refused(tmp_path, name):
    if name == "m.csv":
        write_csv(tmp_path / name, [("s3://b/1", "1", "2")], ("image_uri", "target", "target"))
    else:
        arrays = [pa.array(["s3://b/1"]), pa.array(["1"]), pa.array(["2"])]
        table = pa.Table.from_arrays(arrays, ["image_uri", "target", "target"])
        pq.write_table(table, tmp_path / name)
    with pytest.raises(InvalidRequest, match="column `target` comes twice"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image_uri": "s3://b/1", "target": "1", "target": "2"}', "`target` comes twice"),
        ('{"image_uri": "a", "inputs": {"age": 1, "age": 2}}', None),  # msgspec's own dicts
        ('{"image_uri": "a", "inputs": {"target": 1}, "target": "3"}', None),
        ('{"image_uri": "a", "id": "say \\"id\\""}', None),
    ],
)
def test_a_key_that_comes_twice_in_a_line_is_refused(tmp_path, line, message):
    (tmp_path / "m.jsonl").write_text(line)
    if message is None:
        assert len(read(tmp_path / "m.jsonl")) == 1
        return
    with pytest.raises(InvalidRequest, match=f"line 1: {message}"):
        read(tmp_path / "m.jsonl")


BOXES = [[1, 2, 30, 40.5]]
KEEP = ("label", "boxes", "group", "split", "weight of it")


@every_format
def test_columns_that_are_kept_travel_with_their_item(tmp_path, name):
    is_text = name == "m.csv"
    row = ("s3://b/1", "rose", json.dumps(BOXES) if is_text else BOXES, 7, "train", 0.5)
    WRITERS[name](tmp_path / name, [row, ("s3://b/2", *[None] * 5)], ("image_uri", *KEEP))
    first, second = read(tmp_path / name, KEEP)
    assert (first.label, first.group) == ("rose", "7")
    assert parse_boxes(first.boxes) == ((1, 2, 30, 40.5),)
    weight = "0.5" if is_text else 0.5
    assert parse_columns(first.columns) == {"split": "train", "weight of it": weight}
    assert second == Item(item_id="1", image_uri="s3://b/2")
    assert (form_of((first, second)), form_of((second, second))) == (2, 1)


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        ("[1, 2, 3, 4]", ((1, 2, 3, 4),)),
        ("[[1, 2, 3, 4], [0, 0, 1.5, 9]]", ((1, 2, 3, 4), (0, 0, 1.5, 9))),
        ("[]", ()),
    ],
)
def test_boxes_are_one_or_several(tmp_path, value, boxes):
    write_csv(tmp_path / "m.csv", [("s3://b/1", value)], ("image_uri", "boxes"))
    (item,) = read(tmp_path / "m.csv", ["boxes"])
    assert parse_boxes(item.boxes) == boxes


@pytest.mark.parametrize(
    "value",
    ["rose", "[1, 2, 3]", "[[1, 2, 3]]", "[3, 2, 1, 4]", '{"left": 1}', "[[1,2,3,NaN]]", "7"],
)
def test_what_is_no_box_is_refused_with_its_line(tmp_path, value):
    write_csv(tmp_path / "m.csv", [("s3://b/1", value)], ("image_uri", "boxes"))
    with pytest.raises(InvalidRequest, match=r"line 2: `boxes` .*\[left, top, right, bottom\]"):
        read(tmp_path / "m.csv", ["boxes"])


def test_values_of_every_kind_that_parquet_holds_are_kept_as_json(tmp_path):
    table = pa.table(
        {
            "image_uri": ["s3://b/1"],
            "day": [dt.date(2026, 11, 29)],
            "flag": [True],
            "score": [float("nan")],
            "sites": [[1, 2]],
            "label": [3.0],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    (item,) = read(tmp_path / "m.parquet", ["day", "flag", "score", "sites", "label"])
    assert parse_columns(item.columns) == {"day": "2026-11-29", "flag": True, "sites": [1, 2]}
    assert item.label == "3"


@every_format
def test_a_column_that_is_to_be_kept_and_is_not_there_is_refused(tmp_path, name):
    WRITERS[name](tmp_path / name, [("s3://b/1", "a")], ("image_uri", "id"))
    with pytest.raises(InvalidRequest, match="`label`"):
        read(tmp_path / name, ["label"])


def test_a_line_of_json_may_lack_a_kept_column_that_others_have(tmp_path):
    lines = [{"image_uri": "s3://b/1"}, {"image_uri": "s3://b/2", "split": "test"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [item.columns for item in read(tmp_path / "m.jsonl", ["split"])] == [
        None,
        '{"split":"test"}',
    ]
    with pytest.raises(InvalidRequest, match="no line has the column `splt`"):
        read(tmp_path / "m.jsonl", ["split", "splt"], [].append)


@pytest.mark.parametrize("name", ["image_uri", "id", "target", "inputs"])
def test_a_column_that_results_have_anyway_need_not_be_kept(tmp_path, name):
    with pytest.raises(InvalidRequest, match=f"`{name}` need not be kept"):
        read(tmp_path / "m.csv", [name])


def test_a_folder_has_no_columns_to_keep(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="no source has the column `label`"):
        list(stream(str(tmp_path), None, keep=["label"]))


def test_an_unknown_column_is_refused_with_the_way_to_keep_it(tmp_path):
    write_csv(tmp_path / "m.csv", [("s3://b/1", "a")], ("image_uri", "split"))
    with pytest.raises(InvalidRequest, match=r"`split` \(the columns are .*--keep-column NAME"):
        read(tmp_path / "m.csv")


def test_rows_that_differ_in_what_is_kept_are_no_duplicates():
    plain = [Item(item_id=str(number), image_uri="s3://b/1") for number in range(2)]
    kept = [Item(item_id=name, image_uri="s3://b/1", label=name) for name in ("a", "b", "a")]
    with Unique() as unique:
        assert [item.item_id for item in unique([*plain, *kept])] == ["0", "a", "b"]


@pytest.mark.parametrize("wrong", [{"boxes": "[1]"}, {"columns": "[1]"}, {"columns": "{"}])
def test_an_item_of_a_program_is_checked_too(wrong):
    with pytest.raises(InvalidRequest, match=f"`{min(wrong)}`"):
        list(stream(Item(item_id="a", image_uri="s3://b/1", **wrong), None))


def test_kept_columns_survive_a_part_of_their_form_and_add_nothing_to_others():
    plain = Item(item_id="a", image_uri="s3://b/1")
    kept = Item(item_id="b", image_uri="s3://b/2", label="x", columns='{"split":"test"}')
    assert parquet.read_manifest(parquet.write_items([plain, kept], 2)) == [plain, kept]
    names = pq.read_schema(io.BytesIO(parquet.write_items([plain], 1))).names
    assert names == ["item_id", "image_uri", "target", "inputs"]
    row = changed(samples.row("b", Status.OK), label="x", group="7", columns='{"split":"test"}')
    with parquet.open_results(parquet.write_results([row], 0, 2)) as part:
        table = kept_columns.read(part, ["split", "label", "group", "boxes", "weight"])
    assert table.to_pylist() == [
        {"split": "test", "label": "x", "group": "7", "boxes": None, "weight": None}
    ]
    with parquet.open_results(parquet.write_results([row], 0, 1)) as part:
        assert part.read(["label", "columns"]).to_pylist() == [{"label": None, "columns": None}]


def test_pandas_index_cannot_be_kept_as_a_column_without_a_name():
    with pytest.raises(InvalidRequest, match=r"a column to keep has no name: .*`index=False`"):
        stream("a.csv", None, keep=[""])


def test_more_columns_than_anybody_keeps_are_refused_at_once(tmp_path):
    names = [f"a{number}" for number in range(1000)]
    path = tmp_path / "wide.csv"
    path.write_text(f"image_uri,{','.join(names)}\ns3://b/1,{','.join(names)}\n")
    assert len(json.loads(read(path, names)[0].columns)) == 1000
    with pytest.raises(InvalidRequest, match="1001 columns are to be kept, and 1000 are the most"):
        stream("a.csv", None, keep=[*names, "b"])
