"""Sources of a job: folders, globs and manifests become the same stream."""

import csv
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.errors import InvalidRequest
from camfleet.sources.sources import items, manifests


def read(source, on_broken=None):
    return list(items(str(source), None, on_broken))


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


def test_objects_of_other_clouds_are_images_and_nothing_else(tmp_path):
    for uri in ("az://photos/a.jpg", "gs://photos/deep/a"):
        assert uris(uri) == [uri]
    for source in ("az://photos/", "gs://photos/deep/", "az://photos/list.csv", "gs://a/b.parquet"):
        with pytest.raises(InvalidRequest, match=f"{source}: of az:// and gs:// workers"):
            read(source)
    manifest = tmp_path / "list.csv"
    manifest.write_text("image_uri\naz://photos/a.jpg\n")
    assert uris(manifest) == ["az://photos/a.jpg"]


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


def test_a_folder_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    (tmp_path / "closed").mkdir()
    closed = str(tmp_path / "closed")
    real = os.scandir

    def refuse(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the super-user may read all
    with pytest.raises(InvalidRequest, match="closed: Permission denied"):
        uris(tmp_path)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "list.csv").symlink_to("/proc/self/mem")  # can be opened, but not read
    with pytest.raises(InvalidRequest, match="Input/output error"):
        uris(tmp_path / "list.csv")


@pytest.mark.parametrize("source", ["", "https://example.org/" + "x" * 4096])
def test_a_source_that_is_too_long_or_empty_is_refused(source):
    with pytest.raises(InvalidRequest, match="not 1 to 4096"):
        uris(source)


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
        ("m.csv", "image_uri,lable\na,b\n", r"line 1: .*unknown field `lable`"),
        ("m.csv", "path,a\nb,c\n", "line 1: there's no column `image_uri`: .* `path`, `a`"),
        ("m.csv", "\npath\na\n", "line 2: there's no column `image_uri`: .* `path` "),
        ("m.csv", "a,b,c,d,e,f\n1\n", r"`d`, `e`, \.\.\. \("),
        ("m.csv", ",image_uri\n0,a\n", "line 1: a column without a name .*`index=False`"),
        ("m.csv", "Unnamed: 0,image_uri\n0,a\n", "line 1: .*`index=False`"),
        ("m.csv", "image_uri;target\na;top\n", "line 1: .*separated by semicolons; .*commas"),
        ("m.csv", "image_uri\ttarget\na\ttop\n", "line 1: .*separated by tabs"),
        ("m.csv", "image_uri\ns3://a/b\ns3://a/b,c\n", "line 3: .*more cells than columns"),
        ("m.csv", "image_uri,target\ns3://a/b,top:0\n", "line 2: .*top:K"),
        ("m.csv", "image_uri,id\n,1\n", "line 2: `image_uri` is empty"),
        ("m.csv", "image_uri\n", "m.csv names no image: it's an empty manifest"),
        ("m.csv", "image_uri\na\0b.png\n", "line 2: .*null"),
        ("m.jsonl", '{"image_uri": "s3://a/b"}\n{"image_uri": \n', "line 2: not JSON: Exp"),
        ("m.jsonl", '{"target": "top"}\n', "line 1: missing required field `image_uri`"),
        ("m.jsonl", '["s3://a/b"]\n', "line 1"),
        ("m.jsonl", "[" * 10_000, "line 1"),
        ("m.jsonl", '{"image_uri": "\\ud800.jpg"}\n', "line 1: .*surrogate"),
        ("m.parquet", "PAR1 not", "not a Parquet file"),
        ("m.csv", f"image_uri\ns3://a/{'b' * 5000}\n", "line 2: `image_uri` has 5007 characters"),
        ("m.csv", f"image_uri,id\ns3://a/b,{'c' * 5000}\n", "line 2: a cell has 5000 characters"),
        ("m.csv", 'image_uri\n"s3://a/\nb"\n"s3://a"b\n', "line 4: .*expected after"),
        ("m.csv", f"image_uri\n{'a' * 200_000}\n", r"line 2: field larger .*\d\)$"),
        ("m.csv", "target\ntop\n", "line 1: there's no column `image_uri`"),
        ("m.csv", '"image"_uri\na\n', "line 1: .*expected after"),
    ],
)
def test_a_broken_manifest_is_refused_with_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.json", "a.ndjson", "a.tsv", "a.xlsx", "s3://b/a.JSON"])
def test_a_table_that_is_no_manifest_is_not_taken_for_an_image(tmp_path, name):
    source = name if "://" in name else str(tmp_path / name)
    with pytest.raises(InvalidRequest, match=r"nor a manifest: .*, as \.(jsonl|csv)"):
        list(items(source, None))


def test_pandas_index_in_a_parquet_file_is_called_that(tmp_path):
    table = pa.table({"image_uri": ["s3://a/b"], "__index_level_0__": [7]})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(InvalidRequest, match=r"m\.parquet: a column without .*`index=False`"):
        read(tmp_path / "m.parquet")


def test_csv_with_a_byte_order_mark_quotes_and_windows_line_ends_reads_as_meant(tmp_path):
    text = '\ufeff\r\nid,image_uri\r\n1,"s3://a/b, c.jpg"\r\n\r\n"2","s3://a/""d"".jpg"\r\n3\r\n'
    (tmp_path / "m.csv").write_bytes(text.encode())
    broken = []
    found = read(tmp_path / "m.csv", broken.append)
    assert [(item.item_id, item.image_uri) for item in found] == [
        ("1", "s3://a/b, c.jpg"),
        ("2", 's3://a/"d".jpg'),
    ]
    assert [str(error) for error in broken] == [f"{tmp_path}/m.csv, line 6: `image_uri` is empty"]


def test_csv_that_is_not_utf_8_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"image_uri\ns3://a/\xe9.jpg\n")
    with pytest.raises(InvalidRequest, match=r"m\.csv: save it as UTF-8"):
        read(tmp_path / "m.csv", [].append)


def test_json_as_other_tools_write_it_is_fine(tmp_path):
    lines = '\ufeff{"image_uri": "s3://a/b", "target": NaN}\r\n\n  \n{"image_uri": "s3://a/c"}'
    (tmp_path / "m.jsonl").write_text(lines)
    assert [(item.image_uri, item.target) for item in read(tmp_path / "m.jsonl")] == [
        ("s3://a/b", None),
        ("s3://a/c", None),
    ]


def test_a_rows_number_is_its_id_and_its_place_however_long_the_table_is(tmp_path):
    uris = [f"s3://a/{number}" for number in range(10_000)]
    pq.write_table(pa.table({"image_uri": [*uris, None, "s3://b"]}), tmp_path / "m.parquet")
    broken = []
    found = read(tmp_path / "m.parquet", broken.append)
    assert [item.image_uri for item in found] == [*uris, "s3://b"]
    assert [item.item_id for item in found[-2:]] == ["9999", "10001"]
    assert "line 10001: Expected `str`, got `null`" in str(broken[0])
    with pytest.raises(InvalidRequest, match="line 10001"):
        read(tmp_path / "m.parquet")


def test_inputs_may_be_an_object_or_its_text(tmp_path):
    lines = [
        {"image_uri": "s3://a/b", "inputs": {"age": 3, "sizes": [1, 2]}},
        {"image_uri": "s3://a/b", "inputs": '{"age": 3.0}'},
        {"image_uri": "s3://a/b", "inputs": {}},
        {"image_uri": "s3://a/b", "inputs": ""},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = [item.inputs and json.loads(item.inputs) for item in read(tmp_path / "m.jsonl")]
    assert given == [{"age": 3, "sizes": [1, 2]}, {"age": 3}, None, None]


def test_a_parquet_column_that_is_unknown_is_named_before_any_row_is_read(tmp_path):
    table = pa.table({"image_uri": ["s3://a/b"], "label": ["x"]})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(InvalidRequest, match=r"m\.parquet: .*unknown field `label` .*image_uri"):
        read(tmp_path / "m.parquet", [].append)


def test_a_parquet_file_that_is_damaged_inside_is_refused(tmp_path):
    path = tmp_path / "m.parquet"
    uris = [f"s3://a/{number}" for number in range(100_000)]
    pq.write_table(pa.table({"image_uri": uris}), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[1000:50_000] = bytes(49_000)
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match="not a Parquet file"):
        read(path)


def test_text_in_parquet_that_is_not_utf_8_is_refused(tmp_path):
    pq.write_table(
        pa.table({"image_uri": pa.array([b"\xff"]).view(pa.string())}), tmp_path / "m.parquet"
    )
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        read(tmp_path / "m.parquet")


def test_paths_in_a_manifest_start_at_its_folder_wherever_links_lead(tmp_path):
    (tmp_path / "real" / "photos").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "elsewhere").symlink_to(tmp_path)
    text = "image_uri\nphotos/a.jpg\n./photos//./b.jpg\n../c.jpg\nelsewhere/../d.jpg\n/e/f.jpg\n"
    (tmp_path / "real" / "m.csv").write_text(text)
    real = tmp_path / "real"
    expected = [real / "photos/a.jpg", real / "photos/b.jpg", tmp_path / "c.jpg"]
    assert uris(tmp_path / "alias" / "m.csv") == [
        *map(str, expected),
        str((real / "elsewhere" / ".." / "d.jpg").resolve()),
        "/e/f.jpg",
    ]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("a.jpg", "s3://bucket/lists/a.jpg"),
        ("../photos/./a b.jpg", "s3://bucket/photos/a b.jpg"),
        ("../../../a.jpg", "s3://bucket/a.jpg"),
        ("/data/a.jpg", "/data/a.jpg"),
        ("s3://other/a.jpg", "s3://other/a.jpg"),
    ],
)
def test_paths_in_a_manifest_of_a_bucket_start_at_its_folder_there(tmp_path, uri, expected):
    path = tmp_path / "m.csv"
    path.write_text(f"image_uri\n{uri}\n")
    found = manifests.items(path, "s3://bucket/lists/m.csv", "s3://bucket/lists", None)
    assert [item.image_uri for item in found] == [expected]


def test_broken_lines_are_told_and_left_out(tmp_path):
    lines = [
        "s3://a/1,top",
        ",top",
        "s3://a/2,top:0",
        's3://a/3,"x"y',
        "s3://a/4,top:2,more",
        "s3://a/5,7",
    ]
    (tmp_path / "m.csv").write_text("image_uri,target\n" + "\n".join(lines) + "\n")
    broken = []
    found = read(tmp_path / "m.csv", broken.append)
    assert [(item.item_id, item.image_uri, item.target) for item in found] == [
        ("0", "s3://a/1", "top"),
        ("5", "s3://a/5", "7"),
    ]
    assert [str(error).split(",")[1].split(":")[0] for error in broken] == [
        " line 3",
        " line 4",
        " line 5",
        " line 6",
    ]
    assert all(isinstance(error, InvalidRequest) for error in broken)


def test_what_is_wrong_with_the_whole_is_raised_in_any_case(tmp_path):
    (tmp_path / "m.csv").write_text("uri\na\nb\n")
    with pytest.raises(InvalidRequest, match="no column `image_uri`: the header has `uri`"):
        read(tmp_path / "m.csv", [].append)
    with pytest.raises(InvalidRequest, match="no such manifest"):
        read(tmp_path / "n.csv", [].append)
