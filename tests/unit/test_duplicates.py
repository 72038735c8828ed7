"""A long stream of items without those that were there before."""

import os
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.contract.records import Item
from camfleet.sources.duplicates import Unique


def item(uri, target=None, inputs=None, item_id="-"):
    return Item(item_id=item_id, image_uri=uri, target=target, inputs=inputs)


def first_ones(items):
    return list({(each.image_uri, each.target, each.inputs): each for each in items[::-1]}.values())


words = st.sampled_from(["", "a", "a/b", "b", "0", "\0", "\0None", "None", "'", "é", "\udcff"])
items = st.builds(item, words, st.none() | words, st.none() | words)


@given(st.lists(items))
def test_of_equal_items_the_first_stays(stream):
    numbered = [item(x.image_uri, x.target, x.inputs, str(n)) for n, x in enumerate(stream)]
    with Unique() as unique:
        left = list(unique(numbered))
    assert {each.item_id for each in left} == {each.item_id for each in first_ones(numbered)}
    assert [int(each.item_id) for each in left] == sorted(int(each.item_id) for each in left)
    assert unique.dropped == len(numbered) - len(left)


@pytest.mark.parametrize("memory", [2**16, 2**25], ids=["on disk", "in memory"])
def test_none_of_many_is_lost_or_doubled(memory):
    chance = random.Random(0)
    uris = [f"s3://b/{chance.randrange(30_000)}.jpg" for _ in range(60_000)]
    with Unique(memory) as unique:
        left = [each.image_uri for each in unique(item(uri) for uri in uris)]
    assert left == list(dict.fromkeys(uris))
    assert unique.dropped == len(uris) - len(left)


def test_several_streams_are_one():
    with Unique() as unique:
        assert len(list(unique([item("a"), item("b")]))) == 2
        assert [each.image_uri for each in unique([item("b"), item("c")])] == ["c"]
    assert unique.dropped == 1


IN_A_PROCESS = """
import os, resource, sys
from camfleet.contract.records import Item
from camfleet.sources.duplicates import Unique
from camfleet.errors import CamfleetError

limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
uris = (f"s3://bucket/{number}.jpg" for number in range(100_000))
with Unique(memory=2**16) as unique:
    try:
        items = (Item(item_id="-", image_uri=uri, target=None, inputs=None) for uri in uris)
        print(sum(1 for _ in unique(items)))
    except CamfleetError as error:
        print(error)
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    print(*(os.readlink(each) for each in links if os.path.lexists(each)), sep=";")
"""


def run(folder, limit):
    environ = {**os.environ, "TMPDIR": str(folder), "SQLITE_TMPDIR": ""}
    command = [sys.executable, "-c", IN_A_PROCESS, str(limit)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_notes_lie_in_a_file_that_is_gone_at_the_end(tmp_path):
    count, files = run(tmp_path, 2**30)
    assert count == "100000"
    assert str(tmp_path) in files
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_with_the_way_out(tmp_path):
    message = run(tmp_path, 2**20)[0]
    assert "make room in the temporary folder" in message
    assert "TMPDIR" in message
