"""Jobs that would fail are found before they start, and none that would work is refused."""

import os

import pytest
from msgspec.structs import replace

from camfleet.broker.backlog import QueueState
from camfleet.contract.codec import encode
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.contract.records import Item
from camfleet.errors import (
    AnswerTimeout,
    ConfigurationError,
    InvalidRequest,
    LayerRefused,
    MethodRefused,
    SourceForbidden,
    UnknownTarget,
)
from camfleet.jobs.dry_run import DryRunner
from camfleet.jobs.fleet import Fleet
from camfleet.jobs.inspection import Inspection
from camfleet.jobs.misfits import KnownModel, find_misfits
from camfleet.registry.cards import Card, CardInput
from helpers.worker_states import worker_state

REPORT = {
    "candidates": [{"path": "conv1"}, {"path": "block/conv2"}],
    "classes": 3,
    "methods": ["gradcam", "layercam"],
    "cam": "it needs one dense layer",
    "activation": "softmax",
}
ORDER = {
    "target": "top",
    "layer": "auto",
    "method": "gradcam",
    "outputs": encode(DEFAULT_OUTPUTS),
    "callback": None,
    "models": [],
}


def model(labels=("cat", "dog", "7"), **report):
    card = Card(id="net", artifact="net.keras", input=CardInput(height=8, width=8), labels=labels)
    return KnownModel("net@1", card, {**REPORT, **report} if report.get("none") is None else {})


def test_a_fusion_of_one_layer_is_refused_as_the_card_names_one():
    order = {**ORDER, "fuse": "max"}
    (error,) = find_misfits([model()], order)
    said = "fuse does nothing with one layer, which is all that the card of net@1"
    assert str(error).startswith(said)
    assert list(find_misfits([model()], {**order, "layer": "conv1,block/conv2"})) == []
    several = model()
    several = several._replace(card=replace(several.card, layer=("conv1", "block/conv2")))
    assert list(find_misfits([several], order)) == []
    assert list(find_misfits([model(), several], order)) == [], "one of them has something to fuse"


def test_a_precision_that_costs_too_much_is_refused_with_the_way_out():
    order = {**ORDER, "precision": "bf16"}
    told = {"bf16": {"reason": "a map moves by 0.4 bits, allowed is 0.01 bits"}}
    (error,) = find_misfits([model(**told)], order)
    assert error.code == "precision_refused"
    assert str(error).startswith("model net@1 can't be computed in bf16: a map moves by 0.4 bits")
    assert "submit --precision float32" in str(error)
    calm = {"median": 0.0, "largest": 0.0, "same": 1.0}
    measured = {"images": 8, "change": calm, "jpeg95": calm, "jpeg75": calm}
    assert list(find_misfits([model(bf16=measured)], order)) == []
    assert list(find_misfits([model(bf16={**measured, "refused": "by older limits"})], order)) == []
    (error,) = find_misfits([model()], order)
    assert "wasn't measured: add it again (camfleet models add)" in str(error)
    assert list(find_misfits([model(**told)], ORDER)) == []


def test_a_job_says_that_nobody_computes_in_its_precision():
    able = worker(precisions=("bf16",))
    assert list(Fleet([worker(), able], "b").warnings(1, "bf16")) == []
    assert list(Fleet([worker()], "b").warnings(2, "float32")) == []
    for there in ([worker()], [worker(), worker(precisions=("bf16",), trouble="it's full")]):
        (said,) = Fleet(there, "b").warnings(1, "bf16")
        assert said.startswith("the job waits: no live worker computes in bf16")


def test_what_waits_for_workers_of_which_none_is_alive_is_counted():
    queues = [
        QueueState(name=f"camfleet.bulk{lane}", depth=depth, oldest_seconds=1.0)
        for lane, depth in (("", 5), (".2", 7), (".2.bf16", 2))
    ]
    (said,) = Fleet([worker()], "b").unserved(queues)
    assert said.startswith("2 messages wait: no live worker computes in bf16")
    assert list(Fleet([worker(precisions=("bf16",))], "b").unserved(queues)) == []
    assert list(Fleet([worker()], "b").unserved(queues[:2])) == []


def worker(**changes):
    plain = {
        "newest_form": 2,
        "file_roots": ("/data",),
        "s3_roots": ("photos",),
        "signs_callbacks": True,
        "report_roots": ("reports",),
    }
    return worker_state(**{**plain, **changes})


def fleet_of(*workers, **options):
    return Fleet(workers, "bucket", **options)


def inspection(*models, workers=(), **order):
    return Inspection({**ORDER, **order}, models or (model(),), Fleet(workers, "bucket"))


def items(*uris, target=None):
    return [Item(item_id=uri, image_uri=uri, target=target) for uri in uris]


@pytest.mark.parametrize(
    ("order", "kind", "message"),
    [
        ({"layer": "conv3"}, LayerRefused, r"net@1 has no layer 'conv3' .* conv1, block/conv2"),
        ({"layer": "conv1,conv3"}, LayerRefused, "no layer 'conv3'"),
        ({"target": "mouse"}, UnknownTarget, "no class 'mouse'"),
        ({"target": "not:mouse"}, UnknownTarget, "no class 'mouse'"),
        ({"target": "3"}, UnknownTarget, "no class 3: it has 3"),
        ({"method": "cam"}, MethodRefused, "cam does not hold for model net@1: it needs one dense"),
    ],
)
def test_what_a_model_does_not_have_is_refused(order, kind, message):
    found = inspection(**order)
    with pytest.raises(kind, match=message + ".*; --force"):
        found.refuse_misfits()


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"layer": "conv1, block/conv2"},
        {"target": "7"},
        {"target": "label:7"},
        {"target": "2"},
        {"target": "top:100"},
        {"target": "above:0.5"},
        {"method": "cam", "layer": "conv1"},  # the report is on the card's own layer
    ],
)
def test_what_works_is_not_refused(order):
    target = order.get("target")
    found = inspection(**order)
    if target == "7":  # an index, of which there are three
        assert [type(error) for error in found.misfits] == [UnknownTarget]
    else:
        found.refuse_misfits()


def test_classes_without_labels_are_known_by_the_report():
    inspection(model(labels=None), target="2").refuse_misfits()
    with pytest.raises(UnknownTarget, match="no class 5: it has 3"):
        inspection(model(labels=None), target="5").refuse_misfits()


def test_a_model_without_a_report_is_not_refused_for_what_nobody_knows():
    unknown = model(labels=None, none=True)
    inspection(unknown, layer="conv9", target="900", method="cam").refuse_misfits()


def test_a_regression_has_no_probabilities_to_reach():
    with pytest.raises(InvalidRequest, match="needs probabilities"):
        inspection(model(activation="none"), target="above:0.5").refuse_misfits()


def test_a_target_that_no_model_has_dooms_its_image_and_all_of_them_the_job():
    found = inspection()
    with pytest.raises(UnknownTarget, match=r"every image would fail: .*no class 'mouse'"):
        list(found.refuse_doomed(items("s3://b/1", "s3://b/2", target="mouse")))
    found = inspection()
    some = [*items("s3://b/1", target="mouse"), *items("s3://b/2", "s3://b/3")]
    assert list(found.refuse_doomed(some)) == some
    assert [text.partition(":")[0] for text in found.findings()] == ["1 of 3 images would fail"]


def test_a_target_that_one_of_several_models_has_is_fine():
    found = inspection(model(), model(labels=("mouse",)))
    assert len(list(found.refuse_doomed(items("s3://b/1", target="mouse")))) == 1
    assert found.findings() == ()


@pytest.mark.parametrize(
    ("uri", "outside"),
    [
        ("/data/a.jpg", False),
        ("/data/deep/a.jpg", False),
        ("/database/a.jpg", True),
        ("/etc/a.jpg", True),
        ("file:///data/a%20b.jpg", False),
        ("file:///etc/a.jpg", True),
        ("s3://bucket/a.jpg", False),
        ("s3://photos/a.jpg", False),
        ("s3://bucket/jobs/a/job.json", True),
        ("s3://bucket/../photos/a.jpg", True),
        ("s3://others/a.jpg", True),
        ("s3:///a.jpg", True),
        ("https://example.org/a.jpg", False),
    ],
)
def test_a_file_outside_every_workers_folders_is_known(uri, outside):
    fleet = fleet_of(worker(), worker(file_roots=("/more",)))
    assert fleet.is_outside(uri) == outside


def test_the_whole_file_system_may_be_a_workers_folder():
    assert not fleet_of(worker(file_roots=("/",))).is_outside("/etc/a.jpg")
    assert fleet_of(worker(file_roots=())).is_outside("/etc/a.jpg")


def test_a_file_is_inside_where_its_folders_links_lead(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    fleet = fleet_of(worker(file_roots=(os.path.realpath(tmp_path / "real"),)))
    assert not fleet.is_outside(str(tmp_path / "alias" / "a.jpg"))


def test_files_are_not_judged_by_workers_that_do_not_say_or_are_not_there():
    for workers in ([], [worker(), worker(file_roots=None)]):
        assert not fleet_of(*workers).is_outside("/etc/a.jpg")
    assert not fleet_of(worker(), local_files=False).is_outside("/etc/a.jpg")


def test_a_folder_outside_dooms_the_job_and_a_file_outside_is_said():
    found = inspection(workers=[worker()])
    with pytest.raises(SourceForbidden, match=r"/etc/a.jpg is in no folder .*\(/data\).*--force"):
        list(found.refuse_doomed(items("/etc/a.jpg", "/etc/b.jpg")))
    found = inspection(workers=[worker()])
    assert len(list(found.refuse_doomed(items("/etc/a.jpg", "/data/b.jpg")))) == 2
    (said,) = found.findings()
    assert said.startswith("1 of 2 images would fail: /etc/a.jpg")


def test_a_bucket_that_no_worker_reads_dooms_the_job_and_an_object_there_is_said():
    expected = r"'s3://others/a.jpg' is in no bucket .*\(bucket, photos/\): add others.*--force"
    with pytest.raises(SourceForbidden, match=expected):
        list(inspection(workers=[worker()]).refuse_doomed(items("s3://others/a.jpg")))
    found = inspection(workers=[worker()])
    mixed = items("/etc/a.jpg", "s3://others/a.jpg", "s3://others/b.jpg", "s3://photos/b.jpg")
    assert len(list(found.refuse_doomed(mixed))) == 4
    files, objects = found.findings()
    assert files.startswith("1 of 4 images would fail: /etc/a.jpg")
    assert objects.startswith("2 of 4 images would fail: 's3://others/a.jpg' is in no bucket")


def test_objects_are_not_judged_by_workers_that_do_not_say_or_are_not_there():
    for workers in ([], [worker(), worker(s3_roots=None)]):
        assert not fleet_of(*workers).is_outside("s3://others/a.jpg")
    assert fleet_of(worker(), local_files=False).is_outside("s3://others/a.jpg")
    assert not fleet_of(worker(), worker(s3_roots=("*",))).is_outside("s3://others/a.jpg")


CLOUDS = {"az": ("photos/2026",), "gs": ()}


def test_what_no_worker_opens_of_other_clouds_dooms_the_job_and_is_said_by_cloud():
    expected = r"'gs://photos/a.jpg' .* \(none\): add photos to their CAMFLEET_GS_ROOTS.*--force"
    with pytest.raises(SourceForbidden, match=expected):
        list(
            inspection(workers=[worker(cloud_roots=CLOUDS)]).refuse_doomed(
                items("gs://photos/a.jpg")
            )
        )
    found = inspection(workers=[worker(cloud_roots=CLOUDS)])
    open_ = ("az://photos/2026/a.jpg", "https://example.org/a.jpg", "s3://photos/a.jpg")
    closed = ("az://photos/a.jpg", "az://photos/2026/../a.jpg", "gs://photos/a.jpg", "/etc/a.jpg")
    assert len(list(found.refuse_doomed(items(*open_, *closed)))) == 7
    assert [said.partition(": ")[0] for said in found.findings()] == [
        "2 of 7 images would fail",
        "1 of 7 images would fail",
        "1 of 7 images would fail",
    ]
    azure, google, _files = found.findings()
    assert "'az://photos/a.jpg' is in nothing that workers read az:// images from" in azure
    assert "gs://photos/a.jpg" in google


def test_other_clouds_are_not_judged_by_workers_that_do_not_say_or_are_not_there():
    for workers in ([], [worker(cloud_roots=CLOUDS), worker()]):
        assert not fleet_of(*workers).is_outside("az://others/a.jpg")
    said = worker(cloud_roots=CLOUDS)
    assert fleet_of(said).is_outside("az://others/a.jpg")
    assert not fleet_of(said, worker(cloud_roots={"az": ("*",)})).is_outside("az://others/a.jpg")
    assert fleet_of(said, worker(cloud_roots={"az": ("*",)})).is_outside("gs://others/a.jpg")


WANTED = {"report": True, "place": None, "faithfulness": None}
ELSEWHERE = {**WANTED, "place": "s3://elsewhere/weekly"}


def test_a_report_that_nobody_can_write_is_refused():
    unable = worker(report_roots=None)
    with pytest.raises(ConfigurationError, match=r"no live worker has what .*; --force"):
        inspection(workers=[unable], follow_ups=WANTED).refuse_misfits()
    with pytest.raises(InvalidRequest, match="to their CAMFLEET_REPORT_ROOTS"):
        inspection(workers=[worker()], follow_ups=ELSEWHERE).refuse_misfits()
    for workers in ([], [worker()], [worker(), unable]):
        inspection(workers=workers, follow_ups=WANTED).refuse_misfits()
    for workers in ([], [worker(report_roots=("elsewhere",)), worker(), unable]):
        inspection(workers=workers, follow_ups=ELSEWHERE).refuse_misfits()
    inspection(workers=[unable], follow_ups=None).refuse_misfits()


def test_a_callback_that_nobody_can_sign_is_refused():
    url = "https://example.org/done"
    with pytest.raises(InvalidRequest, match="CAMFLEET_WEBHOOK_SECRET"):
        inspection(workers=[worker(signs_callbacks=False)], callback=url).refuse_misfits()
    for workers in ([], [worker()], [worker(signs_callbacks=None)]):
        inspection(workers=workers, callback=url).refuse_misfits()
    one_of_two = [worker(signs_callbacks=False), worker()]
    inspection(workers=one_of_two, callback=url).refuse_misfits()


def test_what_a_job_would_wait_for_is_said():
    assert list(fleet_of(worker()).warnings(2)) == []
    (said,) = fleet_of().warnings()
    assert said.startswith("no worker is alive: the job waits until one starts")
    (said,) = fleet_of(worker(trouble="the disk is full")).warnings()
    assert said == "no worker takes work: celery@a:1: the disk is full"
    old = worker(newest_form=1, file_roots=None, s3_roots=None, signs_callbacks=None)
    assert list(fleet_of(old).warnings(1)) == []
    (said,) = fleet_of(old).warnings(2)
    assert "needs camfleet 0.2.0 or newer" in said


class Answers:
    """A worker that answers a dry run as it's told to."""

    def __init__(self, check=None, probe=None):
        self._check = check
        self._probe = probe
        self.asked = []

    def check(self, _digest, timeout):
        self.asked.append(("check", timeout))
        if self._check:
            raise self._check

    def probe(self, uris, timeout):
        self.asked.append(("probe", timeout))
        if self._probe:
            raise self._probe
        return (None,) * len(uris)


def dry_run(answers, stream, workers=(), *, timeout=60, **order):
    order = {**ORDER, "models": [{"digest": "d"}], **order}
    runner = DryRunner(order, [model()], fleet_of(*workers), answers, timeout, sample=True)
    return runner.run(
        stream, chunk_size=2, keep_duplicates=False, on_progress=lambda _count: None, note=None
    )


def test_a_dry_run_finds_everything_at_once_and_says_where():
    answers = Answers(check=LayerRefused("can't be cut"))
    stream = [*items("/etc/a.jpg", "/data/b.jpg"), *items("/data/c.jpg", target="1.5")]
    found = dry_run(
        answers,
        stream,
        [worker(signs_callbacks=False)],
        layer="conv9",
        callback="https://example.org/done",
    )
    assert not found.passed
    assert (found.items, found.images, found.chunks, found.sampled) == (3, 3, 2, 3)
    for word in ("conv9", "WEBHOOK_SECRET", "no class '1.5'", "/etc/a.jpg", "can't be cut"):
        assert any(word in text for text in found.doomed), word
    assert found.unchecked == ()
    assert all(0 < seconds <= 60 for _, seconds in answers.asked)


def test_a_dry_run_without_a_worker_asks_nobody_and_says_what_is_left_unchecked():
    answers = Answers()
    found = dry_run(answers, items("/etc/a.jpg"))
    assert found.passed
    assert answers.asked == []
    assert [text.partition(":")[0] for text in found.unchecked] == [
        "no worker is alive",
        "model net@1 was not loaded",
        "no image was tried",
    ]


def test_a_dry_run_of_a_job_that_keeps_columns_says_where_no_worker_knows_them():
    found = dry_run(Answers(), items("/data/a.jpg"), [worker(newest_form=1)], columns=["label"])
    assert [text for text in found.unchecked if "needs camfleet 0.2.0" in text]


def test_a_dry_run_names_what_no_worker_answered_in_time():
    late = AnswerTimeout("no answer within 60 s")
    found = dry_run(Answers(late, late), items("/data/a.jpg"), [worker()])
    assert found.passed
    assert found.unchecked == (
        "model net@1 was not loaded: no answer within 60 s",
        "no image was tried: no answer within 60 s",
    )


def test_a_dry_run_ends_in_time_however_long_its_source_is():
    def endless():
        number = 0
        while True:
            number += 1
            yield from items(f"s3://b/{number}")

    found = dry_run(Answers(), endless(), [worker()], timeout=0.2)
    assert found.items > 0
    assert found.unchecked[0].startswith(f"the time was over after {found.items} images")
    assert "model net@1 was not loaded: the time is over" in found.unchecked


def test_an_image_that_cannot_be_read_is_named():
    class Broken(Answers):
        def probe(self, uris, _timeout):
            return (ErrorInfo(code="image_not_found", message="gone"), *(None for _ in uris[1:]))

    found = dry_run(Broken(), items("/data/a.jpg", "/data/b.jpg"), [worker()])
    assert [image.code for image in found.unreadable] == ["image_not_found"]
    assert not found.passed
