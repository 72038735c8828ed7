"""The pages of a review's runs: fetched from the bucket into a folder."""

from pathlib import Path

import pytest

from camfleet.contract.reviews import ReviewVerdict
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobs.reviews import pages
from camfleet.jobstore import review_keys
from camfleet.reviews.store import ReviewStore
from helpers import reviews

NAME = "review-pages"


@pytest.fixture(scope="module")
def store(storage):
    """Give a review with verdicts on two versions, the later one of which compared nothing."""
    refs = [reviews.version(storage, "paged", number) for number in (1, 2, 3)]
    made = reviews.review(storage, NAME, refs[0], reviews.maps())
    store = ReviewStore(storage)
    for number, (ref, word) in enumerate(((refs[1], "moved"), (refs[2], "failed"))):
        run, compared = f"{number:016x}", word == "moved"
        place = "s3://somewhere/index.html" if compared else None
        store.write_verdict(
            ReviewVerdict(
                schema_version=2, name=NAME, run=run, job_id="none", model=ref,
                baseline=made.baseline.model, first=made.first.model, set_digest=made.set.digest,
                method=made.method, layer=made.layer, decided_at=1000.0 + number, verdict=word,
                reasons=("all images failed",), limit=0.3, calibrated=True, images=240, changed=0,
                missing=0, failed=0, movement=None, drift=None, page=place, first_page=place,
                report="s3://none",
            )
        )  # fmt: skip
        if compared:
            for prefix in (review_keys.run(NAME, run), review_keys.first(NAME, run)):
                for name in ("index.html", "comparison.json", "pairs.parquet"):
                    storage.put(prefix + name, f"{prefix}{name}".encode(), "text/plain")
    return store


@pytest.mark.parametrize("first", [False, True], ids=["baseline", "first"])
def test_the_page_and_its_files_are_those_of_the_run(storage, store, tmp_path, first):
    folder = tmp_path / "page"
    page = pages.fetch(storage, store, NAME, str(folder), "paged@2", first=first)
    assert page == str(folder / "index.html")
    prefix = (review_keys.first if first else review_keys.run)(NAME, f"{0:016x}")
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == {
        name: prefix + name for name in ("index.html", "comparison.json", "pairs.parquet")
    }


@pytest.mark.parametrize(
    ("model", "first", "words"),
    [
        (None, False, "compared nothing: all images failed"),
        ("paged@7", False, f"camfleet review run {NAME} --model paged@7 --wait"),
    ],
)
def test_where_there_is_no_page_the_way_out_is_named(storage, store, tmp_path, model, first, words):
    with pytest.raises(InvalidRequest, match=words):
        pages.fetch(storage, store, NAME, str(tmp_path / "page"), model, first=first)
    assert not (tmp_path / "page").exists()


def test_a_review_that_is_not_there_and_a_page_that_is_gone_are_errors(storage, store, tmp_path):
    with pytest.raises(InvalidRequest, match="no-such-review"):
        pages.fetch(storage, store, "no-such-review", str(tmp_path), None, first=False)
    storage.delete([review_keys.first(NAME, f"{0:016x}") + "index.html"])
    with pytest.raises(ObjectMissing):
        pages.fetch(storage, store, NAME, str(tmp_path / "gone"), "paged@2", first=True)
    assert not Path(tmp_path / "gone").exists()
