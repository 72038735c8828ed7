"""What a dry run says that a job takes, of workers that have measured it, or haven't."""

import pytest

from camfleet.broker.heartbeats import Measured
from camfleet.cli.submit import _show_estimate
from camfleet.jobs.estimate import Estimator
from camfleet.jobs.fleet import Fleet
from camfleet.jobs.options import job_fields
from camfleet.storage.place import Listed
from helpers.worker_states import worker_state


def worker(name, trouble=None, **measured):
    found = Measured(**measured) if measured else None
    return worker_state(name, trouble=trouble, measured=found)


class Bucket:
    """A store of objects of a thousand bytes each; `gone` isn't among them."""

    def objects(self, uri):
        key = uri.removeprefix("s3://b/")
        if key != "gone":
            yield Listed(key, 1000, 0.0)


FAST = worker("fast", rates={"net@1": 100.0}, image_bytes=5000.0, picture_bytes=2000.0)
SLOW = worker("slow", rates={"net@1": 50.0}, image_bytes=7000.0, picture_bytes=4000.0)
S3 = ["s3://b/a", "s3://b/gone"]


def estimate(workers, items=2560, models=("net@1",), samples=S3, **options):
    made = Estimator(job_fields(options), models, workers)
    return made.estimate(items, -(-items // 256), samples, Bucket())


def test_a_job_takes_its_images_by_the_rates_of_all_workers():
    found = estimate([FAST, SLOW])
    assert found.images_per_second == pytest.approx(150, rel=0.01)
    assert found.seconds == pytest.approx(2560 / 150, abs=0.1)
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("rate", "items", "shown"),
    [
        (8e4, 9, "about 0.0 s, 80000 images/s"),
        (1 / 700, 9, "about 1 h 45 min, 0.00143 images/s"),
        (123.456, 10**6, "about 2 h 15 min, 123 images/s"),
    ],
    ids=["a moment", "a crawl", "hours"],
)
def test_a_rate_is_shown_however_fast_or_slow_it_is(rate, items, shown, capsys):
    _show_estimate(estimate([worker("one", rates={"net@1": rate})], items=items))
    assert f"time        {shown}, on the workers that live" in capsys.readouterr().out


def test_models_take_their_times_one_after_the_other():
    both = worker("both", rates={"net@1": 100.0, "other@2": 10.0}, picture_bytes=1.0)
    assert estimate([both], models=("net@1", "other@2")).seconds == 25.6 + 256


def test_a_job_of_one_chunk_is_one_workers():
    assert estimate([FAST, SLOW], items=75).seconds == 1.0


def test_requests_are_those_of_images_pictures_and_chunks():
    found = estimate([FAST], target="top:3")
    assert found.reads == 2560 + 2 * 10 + 12
    assert found.writes == 2560 * 3 * 2 + 10 + 10 + 2
    packed = estimate([FAST], target="top:3", pack=True)
    assert packed.writes == 10 + 10 + 10 + 2
    none = estimate([FAST], pictures=[])
    assert (none.writes, none.bytes_written) == (10 + 10 + 2, 0)
    half = estimate([FAST], samples=["s3://b/a", "https://x.example/b"])
    assert half.reads == 1280 + 2 * 10 + 12


def test_bytes_are_those_of_the_samples_and_of_the_pictures_that_workers_wrote(tmp_path):
    found = estimate([FAST, SLOW])
    assert (found.bytes_read, found.bytes_written) == (2560 * 1000, 2560 * 2 * 3000)
    photo = tmp_path / "a photo.jpg"
    photo.write_bytes(b"x" * 300)
    for uri in (str(photo), photo.as_uri()):
        assert estimate([FAST], samples=[uri]).bytes_read == 2560 * 300


def test_what_nobody_has_measured_is_named():
    found = estimate([], samples=["https://x.example/a"])
    assert (found.seconds, found.images_per_second) == (None, None)
    assert (found.bytes_read, found.bytes_written) == (None, None)
    time, pictures, images = found.unknown
    assert time == "how long it takes: no live worker has explained two chunks of net@1 yet"
    assert "how large pictures are" in pictures
    assert "how large the images are" in images
    assert found.writes == 2560 * 2 + 22, "is known all the same"


def test_a_job_of_a_moment_has_a_rate():
    found = estimate([FAST], items=4)
    assert (found.seconds, found.images_per_second) == (0.0, pytest.approx(100, rel=0.01))


def test_workers_of_which_nothing_is_known_are_as_fast_as_the_others_and_that_is_said():
    found = estimate([FAST, worker("old")])
    assert found.images_per_second == pytest.approx(200, rel=0.01)
    assert found.unknown[0].startswith("how fast 1 of 2 workers are with net@1")


def test_sizes_that_cannot_be_looked_at_are_those_of_other_images_and_that_is_said():
    found = estimate([FAST], samples=["https://x.example/a", "/no/such/file", "s3://b/gone"])
    assert found.bytes_read == 2560 * 5000
    assert "taken is the mean of others" in found.unknown[0]


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_rate_that_nobody_measured_is_none(rate):
    assert estimate([worker("forged", rates={"net@1": rate})]).seconds is None


def test_how_many_classes_reach_a_probability_is_not_known():
    assert "target's probability" in estimate([FAST], target="above:0.5").unknown[0]


def test_a_precision_has_rates_of_its_own():
    both = worker("both", rates={"net@1": 100.0, "net@1 bf16": 180.0})
    assert estimate([both], precision="bf16").images_per_second == 180
    assert estimate([both]).images_per_second == 100
    unknown = estimate([FAST], precision="bf16")
    assert unknown.seconds is None
    assert "two chunks of net@1 bf16" in unknown.unknown[0]


def test_workers_that_cannot_take_a_job_make_it_no_faster():
    newer = {"newest_form": 2, "precisions": ("bf16",)}
    able = [worker_state("half", **newer), worker_state("other", **newer)]
    others = [
        worker_state("plain", newest_form=2),
        worker_state("sick", trouble="it's stuck", **newer),
        worker_state("old", precisions=("bf16",)),
    ]
    fleet = Fleet([*others, *able], "b")
    assert fleet.able(2, "bf16") == able
    assert [found.name for found in fleet.able(1, "float32")] == ["plain", "old", "half", "other"]
