"""Rows that are asked about by number: a part is read once, for all who ask together."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from camfleet import Client
from camfleet.errors import InvalidRequest, ObjectChanged
from camfleet.jobstore import keys
from camfleet_worker.pipeline.stored_rows import StoredRows
from helpers.rows import job, row

ROWS, PARTS = 16, 3


class Counting:
    """A storage that counts what is read of each key."""

    def __init__(self, storage):
        self._storage = storage
        self._lock = threading.Lock()
        self.reads = {}

    def get(self, key, **options):
        with self._lock:
            self.reads[key] = self.reads.get(key, 0) + 1
        return self._storage.get(key, **options)

    def __getattr__(self, name):
        return getattr(self._storage, name)


@pytest.fixture(scope="module")
def client(settings):
    with Client(settings) as made:
        yield made


@pytest.fixture(scope="module")
def record(client):
    parts = [
        [row(f"{part}-{number}", np.eye(3)) for number in range(ROWS)] for part in range(PARTS)
    ]
    return job(client.storage, "stored-rows", parts, ROWS)


@pytest.fixture(scope="module")
def digests(client, record):
    found = {}
    for ref in record.refs():
        data = client.storage.get(keys.results_part(record, ref)).data
        found[ref] = hashlib.sha256(data).hexdigest()
    return found


def test_a_part_is_read_once_for_all_requests_about_it(client, record, digests):
    counting = Counting(client.storage)
    stored = StoredRows(counting)
    asked = [(ref, first) for first in range(0, ROWS, 4) for ref in digests] * 2
    start = threading.Barrier(8)

    def ask(number):
        start.wait()
        for ref, first in asked[number::8]:
            rows = stored.read(record, ref, digests[ref], range(first, first + 4))
            names = [f"{ref.part}-{place}" for place in range(first, first + 4)]
            assert [one.item_id for one in rows] == names

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert counting.reads == {keys.results_part(record, ref): 1 for ref in digests}


def test_a_part_that_is_larger_than_what_is_kept_is_read_once_all_the_same(client, record, digests):
    counting = Counting(client.storage)
    stored = StoredRows(counting, most_bytes=1)
    for ref in digests:
        for place in range(3):
            assert stored.read(record, ref, digests[ref], [place])[0].rank == 0
    assert counting.reads == {keys.results_part(record, ref): 1 for ref in digests}


def test_another_part_and_a_row_that_isnt_there_are_refused(client, record, digests):
    stored = StoredRows(client.storage)
    ref, digest = next(iter(digests.items()))
    with pytest.raises(ObjectChanged, match="written anew"):
        stored.read(record, ref, "0" * 64, [0])
    with pytest.raises(InvalidRequest, match=f"no more than {ROWS} rows"):
        stored.read(record, ref, digest, [ROWS])
    assert stored.read(record, ref, digest, [3])[0].item_id == "0-3"
