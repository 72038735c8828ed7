"""What the bucket holds, from a listing."""

import tracemalloc

import pytest

from camfleet.jobstore import keys
from camfleet.jobstore.usage import Used, kind_of, measure
from camfleet.storage.place import Listed

DIGEST = "0123456789abcdef" * 4
KEYS = {
    f"jobs/{job}/{name}": size
    for job, factor in (("a", 1), ("b", 10), ("c", 5))
    for name, size in {
        "job.json": factor,
        "manifest/part-00000.parquet": 2 * factor,
        "results/net-0/part-00000.parquet": 3 * factor,
    }.items()
} | {
    "jobs/stray": 1,
    f"maps/{DIGEST[:16]}/x/00001.overlay.jpg": 100,
    f"models/{DIGEST}/card.toml": 7,
    f"models/{DIGEST}/converted/openvino.model": 50,
    "photos/rose.jpg": 1000,
    "registry-changes/net/00001.json": 4,
    "registry/net/1.json": 5,
    "top": 1,
    "uploads/a.jpg": 20,
}


def listed(sizes):
    return [Listed(key, size, 0.0) for key, size in sorted(sizes.items())]


def test_bytes_and_objects_add_up_by_kind_model_and_job():
    found = measure(listed(KEYS), most_jobs=2, on_progress=lambda _count: None)
    assert found.kinds == [
        Used("other", 3, 1002),
        Used("pictures", 1, 100),
        Used("converted models", 1, 50),
        Used("results", 3, 48),
        Used("manifests", 3, 32),
        Used("records", 5, 25),
        Used("uploads", 1, 20),
        Used("models", 1, 7),
    ]
    assert sum(each.objects for each in found.kinds) == len(KEYS)
    assert sum(each.nbytes for each in found.kinds) == sum(KEYS.values())
    assert found.models == [Used(DIGEST[:16], 1, 100), Used(DIGEST, 2, 57)]
    assert found.jobs == [Used("b", 3, 60), Used("c", 3, 30)]


@pytest.mark.parametrize("prefix", keys.RESERVED)
def test_nothing_of_ours_counts_as_something_else(prefix):
    assert kind_of(f"{prefix}name/part") != "other"


def test_memory_stays_flat_however_many_jobs_there_are():
    def many(count):
        return (Listed(f"jobs/{number:08d}/job.json", 1, 0.0) for number in range(count))

    tracemalloc.start()
    told = []
    found = measure(many(50_000), most_jobs=10, on_progress=told.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.jobs) == 10
    assert told[-1] == 50_000
    assert peak < 200_000
