"""Where reports and comparisons may be written, in a folder and beside real buckets."""

import os
from contextlib import closing

import pytest

from camfleet.audit import files
from camfleet.errors import InvalidRequest
from camfleet.jobstore import keys
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.storage.storage import Storage


@pytest.fixture
def storage(settings):
    with closing(Storage(settings)) as made:
        yield made


@pytest.mark.parametrize("prefix", keys.RESERVED)
def test_no_report_lies_among_camfleets_own_objects(storage, prefix):
    for key in (prefix, prefix.rstrip("/"), f"{prefix}x/y/"):
        place = storage.uri(key)
        with pytest.raises(InvalidRequest, match=f"{place!r} is among camfleet's own .*reports/"):
            files.check_place(storage, place, "job-1")
        assert "is among camfleet's own" in str(ReportRoots(storage.bucket, ()).error(place))


def test_a_jobs_own_folder_is_for_its_own_report_alone(storage):
    own = storage.uri(keys.report_folder("job-1"))
    files.check_place(storage, own, "job-1")
    files.check_place(storage, own.rstrip("/"), "job-1")
    for job_id in ("job-2", None):
        with pytest.raises(InvalidRequest, match="among camfleet's own"):
            files.check_place(storage, own, job_id)
    with pytest.raises(InvalidRequest, match="jobs/job-1/report/, the job's own place"):
        files.check_place(storage, storage.uri("jobs/job-1/"), "job-1")
    files.check_place(storage, storage.uri("modelsx/"), "job-1")
    files.check_place(storage, storage.uri("reports/weekly"))


def test_a_bucket_that_isnt_there_is_named_and_not_made(storage):
    with pytest.raises(InvalidRequest, match=r"no bucket 'misspelt-bucket' .*make it first"):
        files.check_place(storage, "s3://misspelt-bucket/x")
    assert not storage.has_bucket("s3://misspelt-bucket/x")
    assert storage.has_bucket(storage.uri("x"))


def test_a_folder_that_cant_be_written_is_named(storage, tmp_path, monkeypatch):
    (tmp_path / "shapes.csv").write_text("a")
    for place in (tmp_path / "shapes.csv", tmp_path / "shapes.csv" / "deep" / "er"):
        with pytest.raises(InvalidRequest, match=r"shapes\.csv is a file, not a folder"):
            files.check_place(storage, str(place))
    files.check_place(storage, str(tmp_path / "new" / "one"))
    monkeypatch.chdir(tmp_path)
    files.check_place(storage, "new")
    place = tmp_path / "taken"
    (place / "index.html").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match=f"index.html can't be written to {place}: "):
        files.write(storage, {"index.html": b""}, os.fspath(place))
