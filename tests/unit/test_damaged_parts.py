"""Parts with flipped bits: told apart from whole ones, always by camfleet's own errors."""

import pytest

from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import parquet

ITEMS = [Item(item_id=str(number), image_uri=f"s3://b/{number}.jpg") for number in range(8)]
WHOLE = parquet.write_items(ITEMS, 1)
REFUSED = (ObjectDamaged, InvalidRequest)


@pytest.mark.parametrize("start", range(7))
def test_a_flipped_bit_never_changes_an_item(start):
    refused = 0
    for bit in range(start, 8 * len(WHOLE), 7):
        flipped = bytearray(WHOLE)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            items = parquet.read_manifest(bytes(flipped), len(ITEMS))
        except REFUSED:
            refused += 1
        else:
            assert items == ITEMS, bit
    assert refused > len(WHOLE) / 2


def test_text_that_is_no_utf_8_is_damage_in_parts_without_checksums(monkeypatch):
    write_table = parquet.pq.write_table
    monkeypatch.setattr(
        parquet.pq,
        "write_table",
        lambda *args, **options: write_table(
            *args, **{**options, "write_page_checksum": False, "compression": "none"}
        ),
    )
    data = bytearray(parquet.write_items(ITEMS, 1))
    data[data.index(b"s3://b/3.jpg")] = 0xFF
    with pytest.raises(ObjectDamaged, match="holds what it can't"):
        parquet.read_manifest(bytes(data))
