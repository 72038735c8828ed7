"""Sources of a job: folders, globs and manifests become the same stream."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.errors import InvalidRequest
from camfleet.sources import items


def read(source):
    return list(items(str(source), storage=None))


def uris(source):
    return [item.image_uri for item in read(source)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.webp"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_gives_its_images_in_order_with_absolute_paths(folder):
    assert uris(folder) == [str(folder / name) for name in ("a.PNG", "b.jpg", "deep/c.webp")]


def test_a_glob_gives_what_matches(folder):
    assert uris(folder / "*.jpg") == [str(folder / "b.jpg")]


def test_a_uri_stands_for_itself():
    assert uris("https://example.org/cat.jpg?size=2") == ["https://example.org/cat.jpg?size=2"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("no/such/file.jpg", "no such file or folder"), ("no/such/*.jpg", "nothing matches")],
)
def test_a_source_that_is_not_there_is_named(source, message):
    with pytest.raises(InvalidRequest, match=message):
        uris(source)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="no images"):
        uris(tmp_path)


ROWS = [
    {"image_uri": "s3://photos/1.jpg", "target": "282", "id": "first"},
    {"image_uri": "local.jpg", "target": None, "id": None},
]


def write_csv(path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image_uri", "target", "id"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("m.csv", write_csv), ("m.jsonl", write_jsonl), ("m.parquet", write_parquet)],
)
def test_the_three_manifest_formats_say_the_same(tmp_path, name, write):
    write(tmp_path / name)
    first, second = read(tmp_path / name)
    assert (first.image_uri, first.target, first.item_id) == ("s3://photos/1.jpg", "282", "first")
    assert (second.image_uri, second.target) == (str(tmp_path / "local.jpg"), None)
    assert second.item_id == "1", "the row's number"


def test_numbers_that_a_tool_wrote_as_floats_are_good_targets(tmp_path):
    table = pa.table({"image_uri": ["s3://a/b", "s3://a/c"], "target": [3.0, float("nan")]})
    pq.write_table(table, tmp_path / "m.parquet")
    assert [item.target for item in read(tmp_path / "m.parquet")] == ["3", None]


def test_numbers_are_good_ids_and_targets(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"image_uri": "s3://a/b", "id": 7, "target": 3}\n')
    assert (read(path)[0].item_id, read(path)[0].target) == ("7", "3")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "image_uri,lable\na,b\n", r"line 2: .*unknown field `lable`"),
        ("m.csv", "uri\na\n", "line 2: .*unknown field `uri`"),
        ("m.csv", "image_uri\ns3://a/b\ns3://a/b,c\n", "line 3: .*more cells than columns"),
        ("m.csv", "image_uri,target\ns3://a/b,top:0\n", "line 2: .*top:K"),
        ("m.csv", "image_uri,id\n,1\n", "line 2: `image_uri` is empty"),
        ("m.csv", "image_uri\n", "no rows"),
        ("m.csv", "image_uri\na\0b.png\n", "line 2: .*null"),
        ("m.jsonl", '{"image_uri": "s3://a/b"}\n{"image_uri": \n', "line 2"),
        ("m.jsonl", '{"target": "top"}\n', "line 1: missing required field `image_uri`"),
        ("m.jsonl", '["s3://a/b"]\n', "line 1"),
        ("m.parquet", "PAR1 not", "not a Parquet file"),
    ],
)
def test_a_broken_manifest_is_refused_with_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path / name)
