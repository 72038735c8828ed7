"""Parts of jobs as they lie in the bucket, changed anywhere: they're read, or are damaged."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.pictures import NUMBERS
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.test_documents import scribbled
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS

BUCKET = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "bucket" / "jobs"
PARTS = [path.read_bytes() for path in sorted(BUCKET.rglob("part-00000.parquet"))]
FORMS = [
    {"compression": "zstd", "use_dictionary": False},
    {"compression": "zstd"},
    {"compression": "none", "use_dictionary": False},
    {"compression": "snappy"},
    {"compression": "zstd", "data_page_version": "2.0", "write_statistics": False},
]
FOREIGN = {"compression": "brotli", "use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
READERS = range(4)


def written(data, form):
    """Return a part as another writer would write it, without checksums that no change passes."""
    table, sink = pq.read_table(io.BytesIO(data)), io.BytesIO()
    texts = [field.name for field in table.schema if str(field.type) == "string"]
    options = dict(form)
    if encoding := options.pop("column_encoding", None):
        options["column_encoding"] = dict.fromkeys(texts, encoding)
    pq.write_table(table, sink, **options)
    return sink.getvalue()


READABLE = [*PARTS, *(written(data, form) for data in PARTS for form in FORMS)]
SEEDS = [*READABLE, *(written(data, FOREIGN) for data in PARTS)]
_numbers = st.tuples(st.sampled_from(NUMBERS), st.sampled_from([1, 2, 4, 8])).map(
    lambda pair: (pair[0] % 256 ** pair[1]).to_bytes(pair[1], "little")
)
_places = st.one_of(st.integers(0, 10**5), st.integers(-3000, -1))  # the footer is at the end
_edits = st.lists(
    st.tuples(_places, st.one_of(st.binary(min_size=1, max_size=3), _numbers), st.booleans()),
    max_size=3,
)


@pytest.fixture(scope="module")
def attacked():
    with victim("parts", Limits(seconds=3, mib=150)) as made:
        yield made


def test_parts_that_nobody_has_changed_are_read(attacked):
    for data in READABLE:
        said = {attacked.attack(bytes([reader]) + data).said for reader in READERS}
        assert "taken" in said
        assert all("table: column" in other for other in said - {"taken"})  # the other kind


@examples(300)
@given(st.sampled_from(READERS), st.sampled_from(SEEDS), _edits, st.sampled_from([None, None, 99]))
def test_no_part_does_harm(attacked, reader, data, edits, end):
    attacked.attack(bytes([reader]) + scribbled(data, edits)[:end])
