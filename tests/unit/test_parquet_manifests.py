"""Parquet manifests of strangers take little memory, and those of any writer are read."""

import json
import random
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.errors import InvalidRequest
from camfleet.sources import manifests, parquet_columns, parquet_rows
from camfleet.sources.columns import Columns

READ = """
import json, re, sys
from pathlib import Path
import pyarrow.parquet
from camfleet.errors import InvalidRequest
from camfleet.sources import manifests
from camfleet.sources.columns import Columns

path, keep, most = Path(sys.argv[1]), sys.argv[2].split(), int(sys.argv[3])
def peak():  # its own: ru_maxrss begins with that of the process it was forked from
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = peak()
broken = []
def on_broken(error):
    broken.append(str(error)[:200])
    if len(broken) > most:
        raise InvalidRequest("enough")
error, read = None, 0
try:
    for item in manifests.items(path, path.name, ".", on_broken, Columns(keep)):
        read += 1
        if read > most:
            break
except InvalidRequest as caught:
    error = str(caught)
grown = peak() - before
print(json.dumps({"error": error, "read": read, "broken": broken[:1], "grown": grown * 1024}))
"""
MOST = 640 * 2**20  # bytes that reading may take
BATCH = 2**13


def read(path, keep="", most=100_000):
    """Return what reading a manifest in a process of its own comes to."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), keep, str(most)],
        check=False,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30)),
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = json.loads(done.stdout)
    assert found["grown"] < MOST, found
    return found


def repeated(text, count):
    """Return a column of one text, which a dictionary holds once."""
    return pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int32()).fill_null(0), [text])


def write(path, columns, **options):
    table = pa.table(columns)
    pq.write_table(table, path, **{"compression": "zstd", **options})
    return path


def items(path, keep=()):
    return list(manifests.items(path, path.name, "/", None, Columns(keep)))


@pytest.mark.parametrize("is_stored", [True, False], ids=["Arrow's schema", "no schema of Arrow"])
def test_a_long_text_that_a_dictionary_repeats_a_million_times_takes_no_memory(tmp_path, is_stored):
    columns = {
        "image_uri": repeated("s3://b/a.png", 1_000_000),
        "target": repeated("\U0001f600" + "t" * 2**20, 1_000_000),
    }
    bomb = write(tmp_path / "m.parquet", columns, store_schema=is_stored)
    assert bomb.stat().st_size < 2**16, "it would be a terabyte"
    found = read(bomb, most=300)
    assert found["broken"]
    assert found["error"] == "enough"


def test_one_text_of_many_columns_may_not_add_up(tmp_path):
    names = [f"c{number}" for number in range(100)]
    columns = {name: repeated("t" * 2**20, 100_000) for name in names}
    bomb = write(tmp_path / "m.parquet", {"image_uri": repeated("s3://b/a", 100_000), **columns})
    assert "too much memory" in read(bomb, " ".join(names))["error"]


def test_a_page_that_unpacks_to_more_than_may_be_held_is_not_unpacked(tmp_path):
    columns = {"image_uri": ["s3://b/a"], "target": ["t" * (2**28 + 1)]}
    bomb = write(tmp_path / "m.parquet", columns, use_dictionary=False, write_statistics=False)
    del columns
    assert bomb.stat().st_size < 2**20
    assert "has a page of" in read(bomb)["error"]


def test_lists_of_millions_in_one_row_are_not_made_into_python_s(tmp_path):
    values = pa.ListArray.from_arrays([0, 4_000_000], pa.nulls(4_000_000, pa.bool_()))
    bomb = write(tmp_path / "m.parquet", {"image_uri": ["s3://b/a"], "boxes": values})
    assert "a row takes" in read(bomb, "boxes")["error"]
    values = pa.ListArray.from_arrays([0, 40_000_000], pa.nulls(40_000_000, pa.float64()))
    bomb = write(tmp_path / "m.parquet", {"image_uri": ["s3://b/a"], "boxes": values})
    assert "bytes of memory" in read(bomb, "boxes")["error"]


def test_texts_that_each_begin_with_the_one_before_are_read_few_at_a_time(tmp_path):
    columns = {"image_uri": ["s3://b/" + "u" * 2**18] * 3000}
    options = {"use_dictionary": False, "column_encoding": {"image_uri": "DELTA_BYTE_ARRAY"}}
    bomb = write(tmp_path / "m.parquet", columns, **options)
    del columns
    assert bomb.stat().st_size < 2**20
    assert "characters" in read(bomb, most=500)["broken"][0]


@pytest.mark.parametrize("encoding", ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_page_that_promises_more_lengths_than_values_is_refused(
    tmp_path, encoding, version, codec
):
    """Lengths that are all the same take no bytes: pyarrow would make room for billions."""
    rows = [None, *(f"s3://b/{number}" for number in range(700))]
    path = write(
        tmp_path / "m.parquet",
        {"image_uri": rows},
        compression="none",
        use_dictionary=False,
        column_encoding={"image_uri": encoding},
        data_page_version=version,
        write_statistics=False,
        store_schema=False,
    )
    whole = path.read_bytes()
    count = b"\x80\x01\x04" + _varint(700)  # blocks of 128 values in 4 parts
    assert whole.count(count) == (2 if encoding == "DELTA_BYTE_ARRAY" else 1)
    place = whole.rfind(count)
    lying = whole[:place] + b"\x80\x01\x04" + _varint(8000) + whole[place + len(count) :]
    path.write_bytes(lying)
    with pytest.raises(InvalidRequest, match="it has 8000 lengths"):
        items(path)


def test_many_row_groups_are_refused_and_empty_ones_skipped(tmp_path, monkeypatch):
    schema = pa.schema([("image_uri", pa.string())])
    path = tmp_path / "m.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        for number in range(300):
            rows = [f"s3://b/{number}"] if number % 3 == 0 else []
            writer.write_table(pa.table({"image_uri": rows}, schema))
    assert [item.image_uri for item in items(path)] == [f"s3://b/{n}" for n in range(0, 300, 3)]
    monkeypatch.setattr(parquet_rows, "_MOST_CHUNKS", 99)
    with pytest.raises(InvalidRequest, match="row groups"):
        items(path)
    monkeypatch.setattr(parquet_rows, "_MOST_FOOTER", 2**10)
    with pytest.raises(InvalidRequest, match="its footer has"):
        items(path)


@pytest.mark.parametrize("depth", [99, 1500])
def test_a_schema_nested_without_end_is_refused(tmp_path, depth):
    kind = pa.int32()
    for _ in range(depth):
        kind = pa.struct([("a", kind)])
    columns = {"image_uri": ["s3://b/a"], "inputs": pa.nulls(1, kind)}
    path = write(tmp_path / "m.parquet", columns, store_schema=False)
    with pytest.raises(InvalidRequest, match="nested"):
        items(path)


def test_no_byte_of_a_manifest_can_be_changed_to_anybody_s_harm(tmp_path):
    """Whatever a footer or a page says, it's read as it was, or refused."""
    plain = [f"s3://b/{number % 50}" for number in range(200)]
    path = write(tmp_path / "m.parquet", {"image_uri": plain, "target": ["1"] * 200})
    whole = path.read_bytes()
    dice = random.Random(5)
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 4))):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x15, 0x16, 0x7F, 0xFF, 0x19))
        path.write_bytes(data)
        broken = []
        try:
            for item in manifests.items(path, "m.parquet", "/", broken.append, Columns()):
                assert len(item.image_uri) < 5000
        except InvalidRequest:
            refused += 1
        assert len(broken) <= 200
    assert refused > 200


CODECS = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]
TEXTS = [None, "PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_all_that_pyarrow_writes_is_read(tmp_path, codec, encoding, version):
    count = BATCH // 4 + 7
    ids = [None if number % 11 == 0 else number for number in range(count)]
    columns = {
        "image_uri": pa.array([f"s3://bucket/folder/{number:06d}.jpg" for number in range(count)]),
        "target": pa.array([None if number % 7 == 0 else "12" for number in range(count)]),
        "id": pa.array(ids, pa.int64()),
        "inputs": pa.array(
            [{"age": float(number), "of": [1.0] * (number % 3)} for number in range(count)]
        ),
        "label": pa.array([f"c{number % 9}" for number in range(count)]).dictionary_encode(),
        "boxes": pa.array(
            [[[0.1, 0.1, 0.5, 0.5]] * (number % 3) or None for number in range(count)]
        ),
    }
    keep = ("label", "boxes")
    texts = ("image_uri", "target")
    options = {"use_dictionary": ["label"], "column_encoding": dict.fromkeys(texts, encoding)}
    path = write(
        tmp_path / "m.parquet",
        columns,
        compression=codec,
        data_page_version=version,
        data_page_size=2**12,
        row_group_size=BATCH // 8,
        **(options if encoding else {}),
    )
    found = items(path, keep)
    assert len(found) == count
    for number in (0, 1, 7, 1025, count - 1):
        item = found[number]
        assert item.image_uri == f"s3://bucket/folder/{number:06d}.jpg"
        assert item.target == (None if number % 7 == 0 else "12")
        assert item.item_id == str(number)
        assert json.loads(item.inputs) == {"age": float(number), "of": [1.0] * (number % 3)}
        assert item.label == f"c{number % 9}"
        assert (item.boxes is None) == (number % 3 == 0)


def test_numbers_in_every_encoding_are_read(tmp_path):
    count = BATCH + 3
    numbers = pa.array(range(count), pa.int64())
    floats = pa.array([number / 2 for number in range(count)])
    for number, encoding in enumerate(["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"]):
        path = write(
            tmp_path / f"{number}.parquet",
            {"image_uri": ["s3://b/a"] * count, "id": numbers, "weight": floats},
            use_dictionary=False,
            column_encoding={"id": encoding, **({} if number == 1 else {"weight": encoding})},
        )
        found = items(path, ("weight",))
        assert [item.item_id for item in found[-2:]] == [str(count - 2), str(count - 1)]
        assert json.loads(found[5].columns) == {"weight": 2.5}


def test_long_texts_are_read_in_smaller_batches(tmp_path):
    rows = [f"s3://b/{number}" + "u" * 4000 for number in range(3000)]
    labels = ["\U0001f600" * 1000 + str(number % 5) for number in range(3000)]
    path = write(tmp_path / "m.parquet", {"image_uri": rows, "label": labels})
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(parquet_rows, "_MOST_REPEATED", 2**16)
        patch.setattr(parquet_rows, "_MOST_ROWS", 2**14)
        found = items(path, ("label",))
    assert [item.image_uri for item in found] == rows
    assert [item.label for item in found] == labels


def test_a_page_s_texts_count_once_however_many_rows_it_has(tmp_path, monkeypatch):
    """Rows of 600 bytes in a row group's only page, as DuckDB writes it."""
    rows = ["s3://b/" + f"{number:06d}" * 100 for number in range(50_000)]
    path = write(
        tmp_path / "m.parquet",
        {"image_uri": rows},
        use_dictionary=False,
        data_page_size=2**28,
        max_rows_per_page=10**6,
    )
    monkeypatch.setattr(parquet_columns, "MOST_HELD", 2**27)
    assert len(items(path)) == 50_000


def _varint(value):
    return bytes([value & 127 | 128, value >> 7])
