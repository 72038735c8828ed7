"""Packed pictures: one ZIP file that any tool opens, of which each picture is a range."""

import io
import subprocess
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Pack
from camfleet.errors import InvalidRequest, StorageUnavailable
from camfleet.jobstore import keys, parquet
from camfleet_worker.chunks import packing
from camfleet_worker.pipeline.spool import Spool
from camfleet_worker.process.retrying import once
from helpers.rows import job, row

HEAT = [[1.0, 0.5], [0.25, 0.0]]
NASTY = ["../../etc/passwd", "/abs/o:lute.jpg", "..\\..\\boot.ini", "a\nb\x1b[31m", "ä" * 300, "-"]


class Bucket:
    """A storage of which only the writes of whole objects are there."""

    def __init__(self):
        self.objects = {}
        self.writes = 0

    def uri(self, key):
        return f"s3://bucket/{key}"

    def put(self, key, data, _type):
        self.objects[key] = data
        self.writes += 1
        return self.uri(key)

    def upload(self, key, path, content_type):
        with Path(path).open("rb") as file:
            return self.put(key, file.read(), content_type)


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def run(bucket):
    record = job(bucket, "packed", [[row(0, HEAT)]] * 3, 4)
    ref = ChunkRef(job_id="packed", model=0, part=2, retry=0)
    bucket.objects.clear()
    bucket.writes = 0
    return SimpleNamespace(
        record=record, ref=ref, insist=once, stores=SimpleNamespace(storage=bucket)
    )


def waiting(spool, item, **pictures):
    """Return a row whose pictures wait in the spool."""
    spans = {kind: spool.add(data) for kind, data in pictures.items()}
    return row(item, HEAT, pack=Pack(uri="", **spans))


def archive(bucket, uri):
    return zipfile.ZipFile(io.BytesIO(bucket.objects[uri.removeprefix("s3://bucket/")]))


def test_every_range_holds_its_picture_and_the_file_is_a_zip_for_every_tool(run, bucket, tmp_path):
    with Spool() as spool:
        rows = [
            waiting(spool, "rose", heatmap=b"heat of rose", overlay=b"overlay of rose"),
            row("gone"),
            waiting(spool, "daisy", overlay=b"overlay of daisy", raw=b"raw", thumbnail=b"thumb"),
        ]
        packed = packing.pack(run, rows, [0, 1, 3], spool)
    (key,) = bucket.objects
    data = bucket.objects[key]
    assert keys.is_pack(key, "packed")
    assert packed[1] == rows[1]
    found = [
        (kind, data[span.offset : span.offset + span.length])
        for one in packed
        for kind in keys.PICTURES
        if (span := one.pack and getattr(one.pack, kind))
    ]
    assert found == [
        ("heatmap", b"heat of rose"),
        ("overlay", b"overlay of rose"),
        ("overlay", b"overlay of daisy"),
        ("raw", b"raw"),
        ("thumbnail", b"thumb"),
    ]
    with archive(bucket, packed[0].pack.uri) as opened:
        assert opened.namelist() == [
            "00000008-rose-1-class_0.heatmap.png",
            "00000008-rose-1-class_0.overlay.jpg",
            "00000011-daisy-1-class_0.overlay.jpg",
            "00000011-daisy-1-class_0.raw.npy",
            "00000011-daisy-1-class_0.thumbnail.jpg",
        ]
    path = tmp_path / "pack.zip"
    path.write_bytes(data)
    for command in (["unzip", "-t", path], ["python3", "-m", "zipfile", "-t", path]):
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_same_pictures_give_the_same_bytes_in_whatever_order_they_were_drawn(run, bucket):
    for order in ((0, 1), (1, 0)):
        with Spool() as spool:
            made = {item: waiting(spool, item, overlay=b"%d" % item * 9) for item in order}
            packing.pack(run, [made[0], made[1]], [0, 1], spool)
    assert (len(bucket.objects), bucket.writes) == (1, 2)


def test_other_pictures_of_a_chunk_lie_beside_and_replace_none(run, bucket):
    uris = []
    for content in (b"first run", b"rounded otherwise"):
        with Spool() as spool:
            rows = [waiting(spool, "a", overlay=content)]
            uris.append(packing.pack(run, rows, [0], spool)[0].pack.uri)
    assert len(bucket.objects) == 2
    assert [archive(bucket, uri).read(archive(bucket, uri).namelist()[0]) for uri in uris] == [
        b"first run",
        b"rounded otherwise",
    ]


@pytest.mark.parametrize("item", NASTY)
def test_names_in_a_pack_lead_nowhere_whatever_an_item_is_called(run, bucket, item):
    with Spool() as spool:
        rows = [waiting(spool, item, overlay=b"x")]
        (packed,) = packing.pack(run, rows, [0], spool)
    (name,) = archive(bucket, packed.pack.uri).namelist()
    stem = name.removesuffix(".overlay.jpg").replace("-", "").replace("_", "")
    assert stem.isalnum()
    assert name.startswith("00000008-")
    assert len(name.encode()) < 250


def test_two_rows_of_one_name_have_names_of_their_own(run, bucket):
    with Spool() as spool:
        one, other = (waiting(spool, "same", overlay=data) for data in (b"one", b"other"))
        second = replace(one, rank=1, pack=waiting(spool, "same", overlay=b"second").pack)
        packed = packing.pack(run, [one, second, other], [0, 1], spool)
    with archive(bucket, packed[0].pack.uri) as opened:
        assert len(set(opened.namelist())) == 3
        assert [opened.read(name) for name in opened.namelist()] == [b"one", b"second", b"other"]


@pytest.mark.parametrize(("limit", "value"), [("MOST_BYTES", 100), ("MOST_ENTRIES", 4)])
def test_more_than_a_file_may_hold_goes_into_several(run, bucket, monkeypatch, limit, value):
    monkeypatch.setattr(packing, limit, value)
    with Spool() as spool:
        rows = [
            waiting(spool, item, overlay=b"%d" % item * 20, heatmap=b"%d" % item * 30)
            for item in range(5)
        ]
        packed = packing.pack(run, rows, list(range(5)), spool)
    assert [packed.index(one) for one in packed] == list(range(5))
    uris = [one.pack.uri for one in packed]
    assert [uris.index(uri) for uri in uris] == [0, 0, 2, 2, 4]
    for item, one in enumerate(packed):
        data = bucket.objects[one.pack.uri.removeprefix("s3://bucket/")]
        overlay = one.pack.overlay
        assert data[overlay.offset : overlay.offset + overlay.length] == b"%d" % item * 20


def test_a_chunk_without_pictures_writes_no_pack(run, bucket):
    with Spool() as spool:
        assert packing.pack(run, [row(0), row(1)], [0, 1], spool) == [row(0), row(1)]
    assert not bucket.objects


def test_large_pictures_wait_in_a_file_and_are_packed_from_it(run, bucket, monkeypatch):
    monkeypatch.setattr(packing, "IN_MEMORY", 50)
    with Spool(in_memory=50) as spool:
        rows = [waiting(spool, item, overlay=b"%d" % item * 30) for item in range(5)]
        packed = packing.pack(run, rows, list(range(5)), spool)
        assert sum(map(len, spool._kept.values())) == 30
    with archive(bucket, packed[0].pack.uri) as opened:
        assert [opened.read(name) for name in opened.namelist()] == [
            b"%d" % item * 30 for item in range(5)
        ]


def test_a_full_or_missing_temporary_folder_is_an_outage_that_names_the_way_out(
    monkeypatch, tmp_path
):
    with Spool(in_memory=0) as spool:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        with pytest.raises(StorageUnavailable, match=f"wait in {tmp_path}/none .*TMPDIR"):
            spool.add(b"picture")
        (tmp_path / "none").mkdir()
        assert spool.read(spool.add(b"picture")) == b"picture"


def test_a_part_with_packed_rows_reads_as_it_was_written_and_form_1_has_no_pack():
    with Spool() as spool:
        rows = [waiting(spool, 0, overlay=b"a", raw=b"bc"), row(1)]
    assert parquet.read_results(parquet.write_results(rows, 0, 2)) == rows
    with parquet.open_results(parquet.write_results([row(1)], 0, 1)) as file:
        assert file.read(["pack"]).to_pylist() == [{"pack": None}]


def test_a_part_whose_places_are_wider_numbers_is_refused():
    wide = pa.struct([("offset", pa.int64()), ("length", pa.int64())])
    pack = pa.struct([("uri", pa.string()), *((kind, wide) for kind in keys.PICTURES)])
    place = parquet.RESULTS.get_field_index("pack")
    schema = parquet.RESULTS.set(place, pa.field("pack", pack))
    file = io.BytesIO()
    pq.write_table(schema.empty_table(), file)
    with pytest.raises(InvalidRequest, match="'offset' is of type int64, not int32"):
        parquet.open_results(file.getvalue())
