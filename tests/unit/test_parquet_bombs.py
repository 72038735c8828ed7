"""Parts that a stranger made to take more memory than a worker has: refused before decoding."""

import io
import re
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import manifest_parts, objects, parquet, parquet_bounds
from camfleet.jobstore.results_parts import fits
from camfleet.jobstore.thrift import I32, I64, STRUCT, TEXT, Malformed, read_struct
from helpers.producers import row

MANIFEST = parquet.manifest_schema(1)
REFUSED = "Item table (is not Parquet|can't be decoded)"


def written(columns, **options):
    """Return a manifest part of these columns, and of nulls for the others."""
    count = len(next(iter(columns.values())))
    table = pa.table(
        {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in MANIFEST}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False, **options)
    return sink.getvalue()


def repeated(text, count):
    """Return a column of one text, which a dictionary holds once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [text])


def memory(field):
    """Return this process's memory now (VmRSS), or at most since `forget_peak` (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def test_a_text_that_a_dictionary_repeats_is_counted_as_often_as_it_stands_there():
    bomb = written({"item_id": repeated("x", 50_000), "image_uri": repeated("u" * 2**16, 50_000)})
    assert len(bomb) < 2**18, "it would be 3 GB"
    forget_peak()
    before = memory("VmRSS")
    with pytest.raises(ObjectDamaged, match="holds more than"):
        parquet.read_manifest(bomb)
    assert memory("VmHWM") - before < 2**27


def test_texts_that_fit_are_read_though_a_dictionary_repeats_them():
    whole = written({"item_id": repeated("x", 5000), "image_uri": repeated("u" * 4096, 5000)})
    assert parquet.read_manifest(whole) == [Item(item_id="x", image_uri="u" * 4096)] * 5000


@pytest.mark.parametrize("limit", ["MOST_PART", "MOST_VALUES"])
def test_pages_that_unpack_to_more_than_a_part_may_have_are_not_unpacked(monkeypatch, limit):
    bomb = written({"item_id": repeated("x", 4), "image_uri": pa.array(["u" * 2**20] * 4)})
    rows = written({"item_id": repeated("x", 2**20), "image_uri": repeated("u", 2**20)})
    assert max(len(bomb), len(rows)) < 2**16
    monkeypatch.setattr(parquet_bounds, limit, 2**18)
    with pytest.raises(ObjectDamaged, match=REFUSED):
        parquet.read_manifest(bomb if limit == "MOST_PART" else rows)


def test_lists_of_millions_of_values_in_one_row_are_not_decoded(monkeypatch):
    long = msgspec.structs.replace(row("a", "ok"), map=(0.0,) * 100_000)
    data = parquet.write_results([long], 0)
    assert len(data) < 2**17
    assert len(parquet.open_results(data).read(["map"])["map"][0]) == 100_000
    monkeypatch.setattr(parquet_bounds, "MOST_VALUES", 50_000)
    with pytest.raises(ObjectDamaged, match="holds more than"):
        parquet.open_results(data).read()
    file = parquet.open_results(data)
    assert file.read(["item_id"]).num_rows == 1, "only what is read is counted"


def test_millions_of_row_groups_are_not_even_looked_at():
    bomb = written(
        {"item_id": repeated("x", 4000), "image_uri": repeated("u", 4000)}, row_group_size=1
    )
    with pytest.raises(ObjectDamaged, match="footer has"):
        parquet.read_manifest(bomb)


@pytest.mark.parametrize("depth", [100, 1500])
def test_a_schema_nested_without_end_is_refused(depth):
    kind = pa.int32()
    for _ in range(depth):
        kind = pa.struct([("a", kind)])
    sink = io.BytesIO()
    pq.write_table(pa.table({"item_id": pa.nulls(1, kind)}), sink, store_schema=False)
    with pytest.raises(ObjectDamaged, match=REFUSED):
        parquet.read_manifest(sink.getvalue())


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"PAR1" * 4, b"PAR1" + b"\xff" * 16 + (2**31).to_bytes(4, "little") + b"PAR1"],
    ids=["nothing", "a word", "words", "a footer of 2 GiB"],
)
def test_what_has_no_footer_is_damaged(data):
    with pytest.raises(ObjectDamaged, match="not Parquet"):
        parquet.read_manifest(data)


def test_a_footer_that_promises_other_numbers_than_the_pages_changes_nothing_that_is_read():
    whole = written({"item_id": repeated("x", 300), "image_uri": repeated("u", 300)})
    number = _varint(2 * 300)  # rows and values, as zigzag numbers
    refused = 0
    for place in _places(whole, number):
        lying = bytearray(whole)
        lying[place : place + 2] = _varint(2 * 8000)
        try:
            assert parquet.read_manifest(bytes(lying), 300) == parquet.read_manifest(whole)
        except ObjectDamaged:
            refused += 1
    assert refused > 4


@pytest.mark.parametrize("fields", [{}, {1: TEXT}, {1: [I64]}], ids=["skipped", "text", "list"])
def test_thrift_that_never_ends_is_malformed(fields):
    for data in (
        b"\x19\xfc\xff\xff\xff\xff\x0f",  # a list of billions
        b"\x18\xff\xff\xff\xff\x0f",  # a text of gigabytes
        b"\x1c" * 200,  # structs in structs
        b"\x19\x19" + b"\x19" * 200,  # lists in lists
        b"\x16" + b"\xff" * 20,  # a number without end
        b"\x16",
        b"",
    ):
        with pytest.raises(Malformed):
            read_struct(data, 0, len(data), fields)


@pytest.mark.parametrize(
    "data",
    [
        b"\x15\x02\x05\x02\x04\x00",  # field 1 again, by its number
        b"\x16\x02\x00",  # 64 bits
        b"\x15\x80\x80\x80\x80\x80\x01\x00",  # more than 32 bits
        b"\x05\x82\x80\x08\x02\x00",  # field 65,537: Thrift's own readers take it for 1
        b"\x11\x00",  # a truth value
        b"\x15\x02\x19\x25\x02\x02\x00",  # numbers where there are structs
    ],
    ids=["twice", "longer", "too large", "far away", "true", "list"],
)
def test_what_other_readers_of_thrift_would_read_otherwise_is_malformed(data):
    assert read_struct(b"\x15\x02\x19\x2c\x00\x00\x00", 0, 7, {1: I32, 2: [-STRUCT]})[0][1] == 1
    with pytest.raises(Malformed):
        read_struct(data, 0, len(data), {1: I32, 2: [-STRUCT]})


def test_a_dictionary_that_claims_more_values_than_it_has_bytes_is_refused():
    whole = written({"item_id": repeated("x", 300), "image_uri": repeated("u", 300)})
    header = b"\x4c\x15\x02\x15\x00"  # a dictionary of one value, plain
    assert parquet.read_manifest(whole)
    lying = whole.replace(header, b"\x4c\x15\x7e\x15\x00")
    assert lying != whole
    with pytest.raises(ObjectDamaged, match="dictionary of 63 values"):
        parquet.read_manifest(lying)


def _varint(value):
    return bytes([value & 127 | 128, value >> 7])


def _places(data, word):
    place = data.find(word)
    while place >= 0:
        yield place
        place = data.find(word, place + 1)


def test_what_is_written_can_be_read_again(monkeypatch):
    rows = [msgspec.structs.replace(row(str(number), "ok"), map=(0.5,) * 100) for number in "ab"]
    assert fits(rows)
    monkeypatch.setattr(objects, "MOST_VALUES", 399)
    assert not fits(rows)


def test_a_manifest_part_too_large_to_be_read_is_refused_with_the_way_out(monkeypatch):
    items = [Item(item_id=str(number), image_uri=f"s3://b/{number}") for number in range(100)]
    monkeypatch.setattr(manifest_parts, "_LARGE", 1)
    monkeypatch.setattr(parquet_bounds, "MOST_VALUES", 150)
    with pytest.raises(manifest_parts._SourceBroke) as caught:
        list(manifest_parts._parts(items, 100))
    assert "CAMFLEET_CHUNK_SIZE" in str(caught.value)
    assert isinstance(caught.value.error, InvalidRequest)
