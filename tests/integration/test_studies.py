"""Studies through a worker's real parts: real models, a real object store, and a naive recount."""

import itertools
import json
import math
from contextlib import closing
from dataclasses import replace
from hashlib import blake2b

import keras
import numpy as np
import pytest
from msgspec.structs import replace as changed
from PIL import Image

from camfleet import Client
from camfleet.audit.movement import floor_of
from camfleet.audit.reports.page import render
from camfleet.audit.studies import faithfulness, floor, kept, sample
from camfleet.audit.studies.findings import area
from camfleet.contract.messages import BULK_QUEUE, ErrorInfo
from camfleet.contract.records import ChunkRef
from camfleet.contract.studies import FaithfulnessAnswer, FaithfulnessStudy
from camfleet.errors import AnswerTimeout, InvalidRequest, ObjectChanged
from camfleet.jobstore import keys, objects, parquet
from camfleet_worker.process.shutdown import WorkerStops
from helpers.image_server import an_album
from helpers.networks import layers, randomise
from helpers.samples import write_card
from helpers.tcp_proxy import Proxy
from helpers.watched_way import WatchedWay
from helpers.worker_services import client_of, services_in

numbers = itertools.count()
LABELS = ["none", "some", "all"]


def network(outputs=3, activation="softmax"):
    image = keras.Input((32, 48, 3))
    x = layers.Conv2D(6, 4, strides=4, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return randomise(keras.Model(image, layers.Dense(outputs, activation, name="scores")(x)), 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def worker(settings, folder):
    with services_in(folder, settings, allow_private_hosts=True) as made:
        yield made


@pytest.fixture(scope="module")
def client(settings, worker):
    with client_of(worker, settings, chunk_size=8) as made:
        yield made


@pytest.fixture(scope="module")
def model(client, folder):
    labels = json.dumps(LABELS)
    made = network()
    client.models.add(write_card(folder / "card", "study-net", model=made, labels=labels))
    other = network(1, None)
    client.models.add(write_card(folder / "plain", "study-plain", model=other, labels='["size"]'))
    return made


@pytest.fixture(scope="module")
def photos(folder):
    """Blots of many sizes, as large as the model's input: nothing is resized."""
    found = []
    for number in range(30):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 60, (32, 48, 3), dtype=np.uint8)
        top, left = rng.integers(0, 22), rng.integers(0, 36)
        pixels[top : top + 10, left : left + 12] = rng.integers(120, 255, 3)
        path = folder / f"blot-{number:02d}.png"
        Image.fromarray(pixels).save(path)
        found.append(path)
    return found


@pytest.fixture
def explained(client, worker, model):
    """Give a function that submits images and explains them, and returns the job."""

    def explain(sources, *, models=("study-net",), chunk_size=8, **options):
        own = Client(replace(client.settings, chunk_size=chunk_size))
        job = own.submit(
            [str(source) for source in sources],
            models=list(models),
            job_id=f"studied-{next(numbers)}",
            **options,
        )
        record = job.record()
        for ref in record.refs():
            worker.chunks.run(ref)
        return job

    return explain


class Asked:
    """What a worker is asked, counted."""

    def __init__(self, worker, *, most=math.inf):
        self._worker = worker
        self._most = most
        self.requests = []

    def __call__(self, request):
        if len(self.requests) >= self._most:
            raise AnswerTimeout("no more")
        self.requests.append(request)
        return self._worker.studies.make(request)


def answer_rows(client, record, requests):
    for request in requests:
        answer = objects.read_document(client.storage, keys.study(request), FaithfulnessAnswer)
        for row in answer.rows:
            yield request.chunk, row


def naive(model, pixels, heat, item_id, index):
    """Measure one image as the documents say, pass by pass, without any of camfleet's code."""
    height, width = pixels.shape[:2]
    rows, columns = heat.shape
    count = rows * columns

    def ask(changed):
        levels = np.asarray(changed, np.float64) / 255
        return float(model(levels[None].astype(np.float32), training=False)[0, index])

    def cell(y, x):
        return int((y + 0.5) / height * rows) * columns + int((x + 0.5) / width * columns)

    where = np.array([[cell(y, x) for x in range(width)] for y in range(height)])
    relevance = heat.ravel().tolist()
    most = sorted(range(count), key=lambda one: (-relevance[one], one))
    seed = int.from_bytes(blake2b(f"order\n{item_id}".encode(), digest_size=8).digest())
    drawn = np.random.default_rng(seed).permutation(count).tolist()
    middle = [
        (round(math.hypot((one // columns + 0.5) / rows * height - height / 2,
                          (one % columns + 0.5) / columns * width - width / 2), 6), one)
        for one in range(count)
    ]  # fmt: skip
    orders = {
        "most": most,
        "least": most[::-1],
        "random": drawn,
        "centre": [one for _, one in sorted(middle)],
    }
    fills = {
        "mean": np.broadcast_to(pixels.reshape(-1, 3).mean(axis=0), pixels.shape),
        "blur": blurred(pixels.astype(float)),
    }
    mask = spread(np.maximum(heat, 0) / heat.max(), height, width)
    found = {"probability": ask(pixels), "mask_mean": float(mask.mean())}
    sizes = [math.floor(step * count / 8 + 0.5) for step in range(9)]
    for fill, filled in fills.items():
        for name, order in orders.items():
            found[fill, name] = [
                ask(np.where(np.isin(where, order[:size])[..., None], filled, pixels))
                for size in sizes
            ]
        found[fill, "kept"] = ask(mask[..., None] * pixels + (1 - mask[..., None]) * filled)
    return found


def blurred(pixels):
    for axis in (0, 1):
        sd = pixels.shape[axis] / 22
        reach = round(sd * 8 + 1) // 2
        kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sd**2))
        kernel /= kernel.sum()
        around = [(reach, reach) if one == axis else (0, 0) for one in range(3)]
        padded = np.pad(pixels, around, mode="reflect")
        pixels = sum(
            weight * padded.take(range(start, start + pixels.shape[axis]), axis)
            for start, weight in enumerate(kernel)
        )
    return pixels


def spread(heat, height, width):
    """Return a map spread over pixels by linear interpolation between the cells' centres."""
    rows, columns = heat.shape
    found = np.zeros((height, width))
    for y, x in itertools.product(range(height), range(width)):
        v = min(max((y + 0.5) / height * rows - 0.5, 0), rows - 1)
        u = min(max((x + 0.5) / width * columns - 0.5, 0), columns - 1)
        top, left = min(int(v), rows - 2), min(int(u), columns - 2)
        down, right = v - top, u - left
        found[y, x] = (
            heat[top, left] * (1 - down) * (1 - right)
            + heat[top, left + 1] * (1 - down) * right
            + heat[top + 1, left] * down * (1 - right)
            + heat[top + 1, left + 1] * down * right
        )
    return found


def test_what_is_measured_is_what_a_naive_recount_with_keras_finds(
    client, worker, model, photos, explained
):
    job = explained(photos[:4], target="label:some")
    asked = Asked(worker)
    found = faithfulness.run(job.record(), client.storage, asked, 3)
    results = list(job.results())
    measured = list(answer_rows(client, job.record(), asked.requests))
    assert found.models[0].measured == len(measured) == 3
    for chunk, row in measured:
        result = results[chunk.part * 8 + row.row]
        pixels = np.asarray(Image.open(result.image_uri.removeprefix("file://")))
        heat = np.array(result.map).reshape(result.grid_height, result.grid_width)
        expected = naive(model, pixels, heat, result.item_id, result.class_index)
        assert row.probability == pytest.approx(expected["probability"], abs=1e-5)
        assert row.mask_mean == pytest.approx(expected["mask_mean"], abs=1e-5)
        for fill in ("mean", "blur"):
            own = getattr(row, fill)
            for order in ("most", "least", "random", "centre"):
                assert getattr(own, order) == pytest.approx(expected[fill, order], abs=2e-5)
            assert own.kept == pytest.approx(expected[fill, "kept"], abs=2e-5)
        assert row.again < 1e-3
    gaps = [
        area(row.steps, row.blur.random) - area(row.steps, row.blur.most) for _, row in measured
    ]
    assert found.models[0].blur.gap_random.value == pytest.approx(np.mean(gaps), abs=1e-5)


def test_a_repeat_asks_nothing_and_an_interrupted_study_goes_on_where_it_was(
    client, worker, photos, explained
):
    record = explained(photos, target="label:some").record()
    with pytest.raises(AnswerTimeout):
        faithfulness.run(record, client.storage, Asked(worker, most=2), 24)
    first = Asked(worker)
    found = faithfulness.run(record, client.storage, first, 24)
    again = Asked(worker)
    assert faithfulness.run(record, client.storage, again, 24) == found
    assert len(first.requests) == len(set(map(str, first.requests)))
    there = list(client.storage.keys(f"jobs/{record.job_id}/studies/faithfulness/"))
    assert len(there) == len(first.requests) + 2
    assert again.requests == []
    assert kept.read(client.storage, record) == found


def test_a_smaller_sample_leaves_what_a_larger_one_found(client, worker, photos, explained):
    job = explained(photos, target="label:some")
    record, told = job.record(), []
    large = faithfulness.run(record, client.storage, Asked(worker), 24)
    small = faithfulness.run(record, client.storage, Asked(worker), 5, on_larger=told.append)
    assert (small.models[0].measured, small.sample) == (5, 5)
    assert kept.read(client.storage, record) == large
    assert told == list(large.models)
    larger = faithfulness.run(record, client.storage, Asked(worker), 26, on_larger=told.append)
    assert kept.read(client.storage, record) == larger
    key = keys.results_part(record, next(iter(record.refs())))
    rows = parquet.read_results(client.storage.get(key).data)
    again = parquet.write_results([changed(row, logit=0.5) for row in rows], 0, 2)
    client.storage.put(key, again, "application/octet-stream")
    other = faithfulness.run(record, client.storage, Asked(worker), 5, on_larger=told.append)
    assert kept.read(client.storage, record) == other  # these are other results
    assert len(told) == 1


def test_noise_that_was_measured_since_is_what_findings_are_held_against(
    client, worker, photos, explained
):
    record = explained(photos, target="label:some").record()
    before = faithfulness.run(record, client.storage, Asked(worker), 24).models[0]
    assert (before.noise, before.calibrated) == (0.01, False)
    noise = floor_of(floor.measure(record, 0, 30, client.storage, worker.studies.make)).medians
    read = kept.read(client.storage, record).models[0]
    again = faithfulness.run(record, client.storage, Asked(worker), 24).models[0]
    assert read == again
    assert (again.noise, again.calibrated) == (pytest.approx(noise, abs=1e-6), True)


def test_a_worker_is_not_taken_for_stuck_while_a_study_goes_on(
    client, worker, photos, explained, monkeypatch
):
    record = explained(photos[:3], target="label:some").record()
    seen = []
    monkeypatch.setattr(worker.studies, "_check", lambda: seen.append(worker._progress(BULK_QUEUE)))
    faithfulness.run(record, client.storage, Asked(worker), 3)
    assert len(seen) > 3
    assert len(set(seen)) == len(seen)


def test_urgent_images_go_first_between_all_that_a_study_does(
    client, worker, photos, explained, monkeypatch
):
    record = explained(photos[:2], target="label:some").record()
    way = WatchedWay()
    monkeypatch.setattr(worker.pipeline, "_way", way)
    asked = Asked(worker)
    faithfulness.run(record, client.storage, asked, 2)
    ((_, row), _) = answer_rows(client, record, asked.requests)
    variants = 1 + 2 * (4 * (len(row.steps) - 2) + 3)
    heads = 1 + len(row.heads)
    images = 2 * (["fetched", "decoded", "prepared"] + ["made"] * variants)
    assert len(way.given) == len(images) + heads


def test_an_answer_is_written_once_with_the_same_bytes_whoever_writes_it(
    client, worker, photos, explained
):
    record = explained(photos[:3], target="label:some").record()
    asked = Asked(worker)
    faithfulness.run(record, client.storage, asked, 3)
    (request,) = asked.requests
    before = client.storage.get(keys.study(request)).data
    client.storage.delete([keys.study(request)])
    worker.studies.make(request)
    assert client.storage.get(keys.study(request)).data == before


def test_the_sample_is_the_same_whatever_the_order_and_the_parts(client, photos, explained):
    jobs = [
        explained(photos, target="label:some"),
        explained(photos[::-1], target="label:some", chunk_size=5),
    ]
    chosen = [
        sample.choose(
            job.record(), client.storage, 0, 7,
            columns=("status",), wanted=lambda table: np.ones(table.num_rows, bool),
        )
        for job in jobs
    ]  # fmt: skip
    images = [{one.columns["image_uri"] for one in some} for some in chosen]
    assert images[0] == images[1]
    assert len(images[0]) == 7


def test_a_job_of_mixed_things_is_measured_where_it_can_be_and_counted_where_not(
    client, worker, photos, explained, folder
):
    broken = folder / "torn.png"
    broken.write_bytes(photos[0].read_bytes()[:200])
    gone = folder / "soon-gone.png"
    gone.write_bytes(photos[1].read_bytes())
    manifest = folder / "mixed.csv"
    lines = [f"{photo},label:some" for photo in photos[:24]]
    lines += [f"{broken},label:some", f"{gone},label:some", f"{photos[24]},not:label:some"]
    lines += [f"{photo},top:3" for photo in photos[25:28]]
    manifest.write_text("image_uri,target\n" + "\n".join(lines) + "\n")
    job = explained([manifest], models=["study-net", "study-plain"], target="top")
    gone.unlink()
    found = faithfulness.run(job.record(), client.storage, Asked(worker), 100)
    one, other = found.models
    rows = [row for row in job.results() if row.model_id == "study-net"]
    firsts = [row for row in rows if row.rank == 0]
    fit = [
        row
        for row in firsts
        if row.status == "ok" and not row.target.startswith("not:") and row.probability >= 0.05
    ]
    assert (one.images, one.eligible, one.measured) == (30, len(fit), len(fit) - 1)
    left_out = {left.reason: left for left in one.left_out}
    assert left_out["failed"].rows == 1
    assert left_out["maps against a class"].rows == 1
    assert left_out["further answers to an image"].rows == len(rows) - len(firsts)
    assert left_out["image not found"].rows == 1
    assert left_out["image not found"].example.endswith("soon-gone.png")
    counted = sum(left.rows for left in one.left_out if not left.reason.startswith("further"))
    assert one.measured + counted == 30
    assert other.measured == 0
    assert "study-plain@1" in other.refused
    assert "regression" in other.refused
    assert other.faithful == "undecided"


def test_another_model_measured_later_leaves_what_is_kept_of_the_first(
    client, worker, photos, explained
):
    record = explained(photos[:8], models=["study-net", "study-plain"]).record()
    first = faithfulness.run(record, client.storage, Asked(worker), 8, models=[0])
    both = faithfulness.run(record, client.storage, Asked(worker), 8, models=[1])
    assert both.models[0] == first.models[0]
    assert [one.id for one in both.models] == ["study-net", "study-plain"]


def test_an_image_that_has_changed_since_is_left_out(client, worker, photos, explained, folder):
    path = folder / "changing.png"
    path.write_bytes(photos[2].read_bytes())
    record = explained([path], target="label:some").record()
    path.write_bytes(photos[3].read_bytes())
    (found,) = faithfulness.run(record, client.storage, Asked(worker), 1).models
    assert [(left.reason, left.rows) for left in found.left_out] == [("image unreadable", 1)]
    assert found.refused == "no row could be measured"


def test_an_image_whose_server_is_away_is_left_out_until_it_is_back(
    client, worker, photos, explained
):
    with an_album() as album, closing(Proxy(f"http://127.0.0.1:{album.port}")) as proxy:
        uris = [proxy.through(uri) for uri in album.uris("study", 6)]
        record = explained(uris, target="top").record()
        proxy.mode = "cut"
        away, back = Asked(worker), Asked(worker)
        (found,) = faithfulness.run(record, client.storage, away, 6).models
        lost = {left.reason: left for left in found.left_out}["source unreachable"]
        assert lost.rows == found.eligible > 0
        assert lost.example in uris
        assert (found.measured, found.refused) == (0, "no row could be measured")
        assert not list(client.storage.keys(f"jobs/{record.job_id}/studies/faithfulness/"))
        proxy.mode = "pass"
        (found,) = faithfulness.run(record, client.storage, back, 6).models
        assert found.measured == found.eligible


def test_one_image_whose_server_is_away_costs_no_other_its_place(client, worker, photos, explained):
    record = explained(photos[:8], target="label:some").record()
    asked, lost = Asked(worker), []

    def ask(request):
        if not lost:
            lost.append(request.rows[0])
            error = ErrorInfo(code="source_unreachable", message="away")
            return (error, *(None for _ in request.rows[1:]))
        return asked(request)

    (found,) = faithfulness.run(record, client.storage, ask, 8).models
    (request,) = asked.requests
    assert lost[0] not in request.rows
    assert found.measured == len(request.rows) == found.eligible - 1


def test_maps_of_several_layers_are_measured_as_they_are_fused(
    client, worker, folder, photos, explained
):
    image = keras.Input((32, 48, 3))
    x = layers.Conv2D(6, 4, strides=4, activation="relu", name="early")(image)
    x = layers.Conv2D(6, 2, strides=2, activation="relu", name="late")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    deep = randomise(keras.Model(image, layers.Dense(3, "softmax", name="scores")(x)), 7)
    card = write_card(folder / "deep", "study-deep", model=deep, labels=json.dumps(LABELS))
    client.models.add(card)
    job = explained(photos[:3], models=["study-deep"], target="top", layer="early,late")
    asked = Asked(worker)
    (found,) = faithfulness.run(job.record(), client.storage, asked, 3).models
    assert found.measured == found.eligible > 0
    rows = [row for _, row in answer_rows(client, job.record(), asked.requests)]
    assert all(row.again < 1e-3 for row in rows)
    assert all(len(row.steps) == 9 for row in rows)


def test_padding_is_no_part_of_what_is_filled(client, worker, folder, explained):
    made = network()
    card = write_card(folder / "padded", "study-padded", model=made, labels=json.dumps(LABELS))
    card.write_text(card.read_text().replace('"stretch"', '"pad"'))
    client.models.add(card)
    pixels = np.random.default_rng(3).integers(0, 255, (32, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "upright.png")
    job = explained([folder / "upright.png"], models=["study-padded"], target="label:some")
    asked = Asked(worker)
    (found,) = faithfulness.run(job.record(), client.storage, asked, 1).models
    assert found.measured == 1
    ((_, row),) = answer_rows(client, job.record(), asked.requests)

    def ask(shown):
        whole = np.zeros((32, 48, 3), np.float32)  # the image stands in the middle, on black
        whole[:, 12:36] = shown / 255
        return float(made(whole[None], training=False)[0, LABELS.index("some")])

    assert row.mean.most[0] == row.probability == pytest.approx(ask(pixels), abs=1e-5)
    assert row.mean.most[-1] == pytest.approx(ask(pixels.mean(axis=(0, 1))), abs=1e-5)
    assert row.blur.most[-1] == pytest.approx(ask(blurred(pixels.astype(float))), abs=1e-5)
    cells = 8 * 6  # of 8 x 12
    assert (np.array(row.steps) * cells).round().tolist() == [6 * step for step in range(9)]


def test_boxes_of_the_manifest_are_played_on(client, worker, photos, explained, folder):
    manifest = folder / "boxed.csv"
    lines = [f'{photo},"[[0, 0, 48, 32]]"' for photo in photos[:3]]
    manifest.write_text("image_uri,boxes\n" + "\n".join(lines) + "\n")
    job = explained([manifest], target="label:some", keep_columns=["boxes"])
    (found,) = faithfulness.run(job.record(), client.storage, Asked(worker), 3).models
    boxes = found.boxes
    assert (boxes.rows, boxes.hits.value, boxes.centre_hits.value) == (3, 1, 1)
    assert (boxes.energy.value, boxes.area.value) == pytest.approx((1, 1))


def test_rows_of_a_part_that_was_written_anew_are_not_mistaken(client, worker, photos, explained):
    record = explained(photos[:3]).record()
    chosen = sample.choose(
        record, client.storage, 0, 3,
        columns=("status",), wanted=lambda table: np.ones(table.num_rows, bool),
    )  # fmt: skip
    (request,) = sample.requests(chosen, FaithfulnessStudy())
    with pytest.raises(ObjectChanged):
        worker.studies.make(changed(request, digest="0" * 64))
    with pytest.raises(InvalidRequest):
        worker.studies.make(changed(request, rows=(99,)))
    with pytest.raises(InvalidRequest):
        worker.studies.make(changed(request, rows=()))
    away = ChunkRef(job_id=record.job_id, model=7, part=0, retry=0)
    with pytest.raises(InvalidRequest):
        worker.studies.make(changed(request, chunk=away))


def test_a_stopping_worker_writes_no_answer(client, worker, photos, explained, monkeypatch):
    record = explained(photos[:3], target="label:some").record()

    def stop():
        raise WorkerStops

    monkeypatch.setattr(worker.studies, "_check", stop)
    with pytest.raises(WorkerStops):
        faithfulness.run(record, client.storage, Asked(worker), 3)
    assert not list(client.storage.keys(f"jobs/{record.job_id}/studies/"))


def test_a_report_shows_only_findings_that_can_be_camfleets(client, worker, photos, explained):
    record = explained(photos[:3], target="label:some").record()
    faithfulness.run(record, client.storage, Asked(worker), 3)
    key = keys.faithfulness(record.job_id)
    document = json.loads(client.storage.get(key).data)
    reporter = client.reporter()

    def page(spoil=lambda _document: None):
        spoilt = json.loads(json.dumps(document))
        spoil(spoilt)
        client.storage.put(key, json.dumps(spoilt).encode(), "application/json")
        return render(reporter.make(record), {})

    assert "<h2>Faithfulness" in page()
    assert "&lt;script&gt;" in page(lambda found: found["models"][0].update(refused="<script>"))
    for spoil in (
        lambda found: found.update(job_id="other"),
        lambda found: found["models"][0].update(digest="0" * 64),
        lambda found: found["models"].append(found["models"][0]),
        lambda found: found["models"][0].update(mean=None),
        lambda found: found["models"][0]["blur"]["curves"].pop(),
        lambda found: found["models"][0]["blur"]["curves"][2].append(0.5),
        lambda found: found.update(models=7),
    ):
        assert "<h2>Faithfulness" not in page(spoil)


def test_an_answer_that_camfleet_did_not_write_is_named(client, worker, photos, explained):
    record = explained(photos[:3], target="label:some").record()
    asked = Asked(worker)
    faithfulness.run(record, client.storage, asked, 3)
    key = keys.study(asked.requests[0])
    document = json.loads(client.storage.get(key).data)
    for spoil in (
        lambda rows: rows[0].update(row=77),
        lambda rows: rows[0].update(steps=[0.0, 1.0]),
        lambda rows: rows[0].update(probability=None),
    ):
        spoilt = json.loads(json.dumps(document))
        spoil(spoilt["rows"])
        client.storage.put(key, json.dumps(spoilt).encode(), "application/json")
        (found,) = faithfulness.run(record, client.storage, asked, 3).models
        assert (found.measured, found.faithful) == (0, "undecided")
        assert key in found.refused
        assert "delete it" in found.refused
