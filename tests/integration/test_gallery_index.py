"""A gallery's index: every page of it, filtered and sorted, is that of the rows themselves."""

import msgspec
import numpy as np
import pytest

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.geometry import Focus
from camfleet.contract.records import ModelRef
from camfleet.contract.results import Status
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import later_keys
from camfleet.results.gallery import build, document
from camfleet.results.gallery.query import Found, facets
from camfleet.results.gallery.read import Files, Gallery
from camfleet.results.gallery.wanted import Count, Wanted
from helpers import rows

ERRAND = "a" * 32
HEAT = np.ones((2, 2))
SECOND = ModelRef(id="other", version="2", digest="1" * 64)


def focus(share):
    return Focus(peak_x=1, peak_y=1, centre_x=1, centre_y=1, border_share=share)


def made_up():
    """Return rows of four chunks: two models, two targets, labels, failed ones, one without map."""
    rng = np.random.default_rng(0)
    chunks = []
    for model in (rows.MODEL, SECOND):
        for part in range(2):
            found = []
            for number in range(700):
                item = f"{part}-{number}"
                own = {"model_id": model.id, "model_version": model.version}
                if number % 50 == 0:
                    code = "image_not_found" if number % 100 else "image_too_large"
                    found.append(rows.row(item, error_code=code, **own))
                    continue
                for rank in range(2):
                    odd = rank and number % 7 == 0
                    found.append(
                        rows.row(
                            item,
                            HEAT,
                            int(rng.integers(5)),
                            rank=rank,
                            probability=float(np.float32(rng.random())),
                            focus=None if odd else focus(float(np.float32(rng.random()))),
                            status=Status.NO_EVIDENCE if odd else Status.OK,
                            label=f"class {number % 5}" if number % 3 else None,
                            **own,
                        )
                    )
            chunks.append(found)
    return chunks


@pytest.fixture(scope="module")
def chunks():
    return made_up()


@pytest.fixture(scope="module")
def gallery(storage, chunks):
    record = rows.job(storage, "gallery-index", chunks, 700, (rows.MODEL, SECOND))
    steps = []
    build.build(record, storage, ERRAND, lambda: steps.append(1))
    files = Files(storage)
    head = files.head(record, ERRAND)
    assert head
    assert len(steps) >= 4
    return Gallery(record, ERRAND, head, files)


def passes(row, **wanted):
    share = row.focus and row.focus.border_share
    tests = {
        "status": lambda values: row.status in values,
        "code": lambda values: row.error_code in values,
        "class_": lambda values: {row.class_name, str(row.class_index)} & set(values),
        "label": lambda values: row.label in values,
        "model": lambda values: {row.model_id, f"{row.model_id}@{row.model_version}"} & set(values),
        "rank": lambda values: row.rank in values,
        "min_probability": lambda least: row.probability is not None and row.probability >= least,
        "max_probability": lambda most: row.probability is not None and row.probability <= most,
        "min_border_share": lambda least: share is not None and share >= least,
        "max_border_share": lambda most: share is not None and share <= most,
    }
    return all(tests[name](value) for name, value in wanted.items())


WANTED = [
    {},
    {"status": ("failed",)},
    {"status": ("ok", "no_evidence"), "rank": (0,)},
    {"code": ("image_too_large",)},
    {"class_": ("class 3",)},
    {"class_": ("3", "class 1"), "label": ("class 1", "class 2")},
    {"class_": ("no such class",)},
    {"label": ("nothing",)},
    {"model": ("other@2",), "min_probability": 0.25, "max_probability": 0.5},
    {"model": ("net", "other"), "rank": (1,), "max_border_share": 0.125},
    {"min_border_share": 0.75},
]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
@pytest.mark.parametrize("sort", [None, "probability", "-probability", "-border_share"])
def test_pages_are_those_of_the_rows(gallery, chunks, wanted, sort):
    every = [row for chunk in chunks for row in chunk]
    expected = [number for number, row in enumerate(every) if passes(row, **wanted)]
    found = Found(
        gallery, Wanted(**{**wanted, "status": tuple(map(Status, wanted.get("status", ())))}), sort
    )
    assert found.rows == len(expected)
    got = [row for first in range(0, found.rows, 999) for row in found.page(first, 999)]
    assert sorted(got) == expected
    if sort is None:
        assert got == expected
        return
    name = sort.removeprefix("-")
    values = [
        every[row].probability
        if name == "probability"
        else every[row].focus and every[row].focus.border_share
        for row in got
    ]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=sort.startswith("-")) + [None] * (
        len(values) - len(known)
    )


def test_a_row_says_where_it_lies_and_whose_it_is(gallery, chunks):
    every = [(c, n, row) for c, chunk in enumerate(chunks) for n, row in enumerate(chunk)]
    numbers = [0, 1, 127, 128, 1023, 1024, len(chunks[0]) - 1, len(chunks[0]), len(every) - 1]
    assert [gallery.place(number) for number in numbers] == [every[n][:2] for n in numbers]
    assert gallery.ids(numbers) == [every[number][2].item_id for number in numbers]


def test_facets_count_the_wanted_rows(gallery, chunks):
    every = [row for chunk in chunks for row in chunk if row.rank == 0]
    found = facets(gallery, Wanted(rank=(0,)))
    assert found.rows == len(every)
    assert {one.name: one.rows for one in found.statuses} == {
        status: sum(row.status == status for row in every) for status in ("ok", "failed")
    }
    assert {one.name: one.rows for one in found.classes} == {
        f"class {n}": sum(row.class_name == f"class {n}" for row in every) for n in range(5)
    }
    assert sum(found.probability) == sum(row.probability is not None for row in every)
    bins = np.histogram([r.probability for r in every if r.probability is not None], 32, (0, 1))[0]
    assert list(found.probability) == bins.tolist()


def test_an_index_of_a_job_without_rows_is_empty(storage):
    record = rows.job(storage, "gallery-empty", [None], 2)
    head = build.build(record, storage, ERRAND, lambda: None)
    gallery = Gallery(record, ERRAND, head, Files(storage))
    assert Found(gallery, Wanted(), "-probability").page(0, 10) == []
    assert facets(gallery, Wanted(min_probability=0.5)).rows == 0


def test_names_beyond_what_there_is_room_for_are_counted_together(storage, monkeypatch):
    monkeypatch.setattr(build, "MOST_NAMES", 3)
    chunk = [rows.row(n, HEAT, n % 6, label=f"label {n}") for n in range(12)]
    record = rows.job(storage, "gallery-names", [chunk], 12)
    gallery = Gallery(
        record, ERRAND, build.build(record, storage, ERRAND, lambda: None), Files(storage)
    )
    found = facets(gallery, Wanted())
    assert [(one.name, one.rows) for one in found.labels] == [
        *((f"label {n}", 1) for n in range(3)),
        (None, 9),
    ]
    assert found.classes[-1] == Count(name=None, rows=6)


def test_more_rows_than_an_index_takes_are_refused(storage, monkeypatch):
    monkeypatch.setattr(build, "MOST_ROWS", 3)
    record = rows.job(storage, "gallery-large", [[rows.row(n) for n in range(4)]], 4)
    with pytest.raises(InvalidRequest, match="at most 3 rows"):
        build.build(record, storage, ERRAND, lambda: None)


@pytest.fixture
def forge(storage):
    """Give a function that writes an index of three rows, and changes its head or a file."""

    def forge(job_id, files=(), /, **changed):
        chunk = [rows.row(n, HEAT, probability=n / 4) for n in range(3)]
        record = rows.job(storage, job_id, [chunk], 3)
        head = build.build(record, storage, ERRAND, lambda: None)
        for name, data in dict(files).items():
            storage.put(later_keys.gallery(job_id, ERRAND, name), data, "text/plain")
        forged = sealed(msgspec.structs.replace(head, **changed), 2)
        place = later_keys.gallery(job_id, ERRAND, "index.json")
        storage.put(place, encode_json(forged), "application/json")
        own = Files(storage)
        head = own.head(record, ERRAND)
        return head and Gallery(record, ERRAND, head, own)

    return forge


@pytest.mark.parametrize(
    "changed",
    [
        {"job_id": "another"},
        {"rows": 10**7},
        {"starts": (0, 2)},
        {"starts": (3, 3)},
        {"starts": (0, 1, 3)},
        {"blocks": (0, 2**31)},
        {"blocks": (0, 5, 3)},
        {"valued": {}},
        {"valued": {"probability": 4, "border_share": 3}},
    ],
    ids=str,
)
def test_a_head_that_contradicts_itself_is_none(forge, changed):
    assert forge("gallery-forged-head", **changed) is None


def test_files_that_no_worker_wrote_are_refused(forge):
    wrong = np.array([0, 1, 9], np.uint32).tobytes()
    with pytest.raises(ObjectDamaged, match="12"):
        Found(forge("gallery-forged", {"by_probability.bin": wrong[:8]}), Wanted(), "probability")
    found = Found(forge("gallery-forged", {"by_probability.bin": wrong}), Wanted(), "probability")
    with pytest.raises(ObjectDamaged, match="damaged"):
        found.page(0, 3)
    with pytest.raises(ObjectDamaged, match="damaged"):
        Found(
            forge("gallery-forged", {"by_probability.bin": wrong}),
            Wanted(min_probability=0.0),
            "probability",
        )
    gallery = forge("gallery-forged", {"class.bin": np.array([0, 77, -9], np.int32).tobytes()})
    assert sum(one.rows for one in facets(gallery, Wanted()).classes) == 1


@pytest.mark.parametrize("data", [b"not deflated", b"", b"x\x9c\x03\x00\x00\x00\x00\x01"], ids=str)
def test_ids_that_no_worker_packed_are_refused(forge, data):
    gallery = forge("gallery-forged-ids", {"ids.bin": data}, blocks=(0, len(data)))
    with pytest.raises(ObjectDamaged, match="damaged"):
        gallery.ids([0])


def test_a_file_may_change_its_place_in_memory_but_not_its_bytes(storage, gallery):
    few = Files(storage, most_bytes=30_000)
    again = Gallery(gallery.record, ERRAND, gallery.head, few)
    for name in document.COLUMNS:
        assert bytes(again.view(name)) == bytes(gallery.view(name))
    assert few._kept._size <= 30_000
