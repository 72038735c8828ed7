"""A job's manifest against real object storage: its parts, what breaks, manifests in a bucket."""

import dataclasses
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest, ObjectMissing, StorageUnavailable
from camfleet.jobstore import keys, parquet
from camfleet.jobstore.manifest_parts import write_manifest
from camfleet.sources import sources
from camfleet.storage.storage import Storage

numbers = itertools.count()


@pytest.fixture
def storage(settings):
    made = Storage(settings)
    yield made
    made.close()


@pytest.fixture
def job_id():
    return f"parts-{next(numbers)}"


def some(count):
    return [
        Item(item_id=str(number), image_uri=f"s3://b/{number}.jpg", target=None, inputs=None)
        for number in range(count)
    ]


def ignore(_count):
    pass


def parts(storage, job_id):
    return list(storage.keys(keys.manifest(job_id)))


def test_every_item_is_in_one_part_in_order(storage, job_id):
    told = []
    assert write_manifest(storage, job_id, some(1003), 10, told.append) == (1003, 101, 1)
    assert told == [*range(10, 1001, 10), 1003]
    read = [parquet.read_manifest(storage.get(key).data) for key in parts(storage, job_id)]
    assert [len(part) for part in read] == [10] * 100 + [3]
    assert [item for part in read for item in part] == some(1003)


def test_an_empty_source_is_refused(storage, job_id):
    with pytest.raises(InvalidRequest, match="the source is empty"):
        write_manifest(storage, job_id, [], 10, ignore)


@pytest.mark.parametrize("error", [InvalidRequest("line 95"), ZeroDivisionError()])
def test_when_the_source_breaks_no_part_stays(storage, job_id, error):
    told = []

    def source():
        yield from some(95)
        raise error

    with pytest.raises(type(error)) as caught:
        write_manifest(storage, job_id, source(), 2, told.append)
    assert caught.value is error
    assert told, "parts had been written"
    assert parts(storage, job_id) == []


def test_text_that_no_file_can_hold_is_refused_and_no_part_stays(storage, job_id):
    items = [*some(30), replace(some(1)[0], image_uri="/data/\udcff.jpg")]
    with pytest.raises(InvalidRequest, match=r"udcff\.jpg' can't be written as UTF-8"):
        write_manifest(storage, job_id, items, 2, ignore)
    assert parts(storage, job_id) == []


def test_when_the_caller_breaks_it_off_the_parts_stay_for_the_next_time(storage, job_id):
    def stop(count):
        if count >= 20:
            raise InvalidRequest("another producer has taken over")

    with pytest.raises(InvalidRequest, match="another producer"):
        write_manifest(storage, job_id, some(1000), 10, stop)
    assert 2 <= len(parts(storage, job_id)) < 100


def test_a_part_that_cannot_be_written_is_an_error(settings, job_id):
    elsewhere = Storage(dataclasses.replace(settings, s3_endpoint="http://127.0.0.1:9"))
    with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:9"):
        write_manifest(elsewhere, job_id, some(1000), 10, ignore)
    elsewhere.close()


def uris(source, storage):
    return [item.image_uri for item in sources.items(source, storage)]


def test_a_manifest_may_lie_in_a_bucket(storage, tmp_path):
    rows = [{"image_uri": "photos/a.jpg"}, {"image_uri": "s3://other/b.jpg"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    storage.upload("lists/m.parquet", str(tmp_path / "m.parquet"))
    lines = "\n".join(map(json.dumps, rows)).encode()
    storage.put("lists/m.JSONL", lines, "text/plain")
    storage.put("lists/m.csv", b"image_uri\nphotos/a.jpg\ns3://other/b.jpg\n", "text/csv")
    expected = [storage.uri("lists/photos/a.jpg"), "s3://other/b.jpg"]
    for name in ("m.parquet", "m.JSONL", "m.csv"):
        assert uris(storage.uri(f"lists/{name}"), storage) == expected


def test_a_broken_line_in_a_bucket_is_named_by_its_uri(storage):
    storage.put("lists/broken.csv", b"image_uri\n,\n", "text/csv")
    with pytest.raises(InvalidRequest, match=r"^s3://\w+/lists/broken\.csv, line 2: more cells"):
        uris(storage.uri("lists/broken.csv"), storage)


def test_a_manifest_that_is_not_there_is_named(storage):
    with pytest.raises(ObjectMissing, match=r"lists/none\.csv"):
        uris(storage.uri("lists/none.csv"), storage)


def test_a_folder_of_a_bucket_may_be_named_like_a_manifest(storage):
    storage.put("folder.csv/a.jpg", b"", "image/jpeg")
    assert uris(storage.uri("folder.csv/"), storage) == [storage.uri("folder.csv/a.jpg")]
