"""Chunks through a worker's real parts: real model, real object store, real ledger."""

import io
import threading

import numpy as np
import pytest
from msgspec.structs import replace as changed
from PIL import Image

from camfleet.contract.codec import encode, encode_json
from camfleet.contract.messages import ExplainRequest
from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Status
from camfleet.errors import CallerError, DigestMismatch, GoldenMismatch, UnknownModel
from camfleet.jobstore import keys, parquet
from camfleet_worker.chunks.explaining import CAREFUL_FROM
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.models.build import ModelKey
from camfleet_worker.pictures import load
from camfleet_worker.pictures.decode import open_image, open_reduced
from camfleet_worker.pictures.prepare import prepare
from camfleet_worker.pipeline import pipeline
from camfleet_worker.process.priority import PrioritySemaphore
from helpers.networks import deep_head, flatten_dense, targets
from helpers.samples import patch_model, photo, write_card, write_photos
from helpers.worker_services import client_of, services_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def worker(settings, folder):
    with services_in(folder, settings) as made:
        yield made


@pytest.fixture(scope="module")
def client(settings, worker):
    with client_of(worker, settings, chunk_size=4) as made:
        yield made


@pytest.fixture(scope="module")
def model(client, folder):
    ref, _ = client.models.add(write_card(folder / "card", "tiles"))
    return ref


@pytest.fixture(scope="module")
def photos(folder):
    return write_photos(folder / "photos", 6)


def submit(client, sources, **options):
    """Submit a job whose messages nobody reads: the test is the worker."""
    job = client.submit([str(source) for source in sources], models=["tiles"], **options)
    return job, job.record()


def run(worker, record):
    for part in range(record.parts):
        worker.chunks.run(ChunkRef(job_id=record.job_id, model=0, part=part, retry=0))


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancelled_chunk_was_no_attempt(client, worker, model, photos, monkeypatch, begun):
    job, record = submit(client, photos[:2])
    job.cancel()
    if begun:  # cancelled only after the worker looked
        monkeypatch.setattr(Records, "is_needed", lambda *_: True)
    for _ in range(3):
        run(worker, record)
    assert worker.leases.take(ChunkRef(job_id=job.id, model=0, part=0, retry=0)) == 1


def test_a_lost_record_is_said_in_the_jobs_progress_until_its_back(client, worker, model, photos):
    job, record = submit(client, photos[:2])
    key = keys.job(job.id)
    data = client.storage.get(key).data
    client.storage.delete([key])
    with pytest.raises(CallerError):
        run(worker, record)
    (trouble,) = job.status().troubles
    assert trouble.startswith(f"{key} can't be read")
    client.storage.put(key, data, "application/json")
    run(worker, record)
    assert job.status().troubles == ()
    assert job.status().complete


def test_a_job_ends_with_one_row_per_image_and_exact_totals(client, worker, model, photos):
    job, record = submit(client, photos)
    run(worker, record)
    rows = list(job.results())
    assert [row.image_uri for row in rows] == [str(path) for path in photos]
    assert {row.status for row in rows} == {Status.OK}
    assert {row.model_digest for row in rows} == {model.digest}
    progress = job.status()
    assert (progress.ok, progress.failed, progress.total, progress.complete) == (6, 0, 6, True)


def test_a_chunk_delivered_again_changes_no_total(client, worker, model, photos):
    job, record = submit(client, photos)
    run(worker, record)
    before = job.status()
    run(worker, record)
    assert (job.status().done, job.status().chunks_done) == (before.done, before.chunks_done)


def test_a_bad_image_is_a_failed_row_and_never_a_failed_chunk(
    client, worker, model, photos, folder
):
    broken = folder / "broken.png"
    broken.write_bytes(photos[0].read_bytes()[:60])
    empty = folder / "empty.png"
    empty.write_bytes(b"")
    sources = [photos[0], broken, empty, folder / "none.png", "ftp://a/b.png", photos[1]]
    (folder / "m.csv").write_text("image_uri\n" + "\n".join(map(str, sources)))
    job, record = submit(client, [folder / "m.csv"])
    run(worker, record)
    rows = list(job.results())
    assert [row.error_code for row in rows] == [
        None,
        "image_unreadable",
        "image_unreadable",
        "image_not_found",
        "source_forbidden",
        None,
    ]
    assert all(row.error_message and row.heatmap_uri is None for row in rows[1:5])
    assert (job.status().ok, job.status().failed) == (2, 4)


def test_what_is_too_large_to_wait_for_its_batch_ends_as_all_others(
    client, worker, model, photos, monkeypatch
):
    def told():
        job, record = submit(client, photos)
        run(worker, record)
        rows = list(job.results())
        return [(row.map, row.heatmap_uri, row.overlay_uri) for row in rows]

    small = told()
    monkeypatch.setattr(pipeline, "_LARGE_FILE", 0)
    monkeypatch.setattr(pipeline, "_LARGE_PICTURES", 0)
    assert told() == small


def test_the_same_request_overwrites_the_same_keys_with_the_same_bytes(
    client, worker, model, photos
):
    written = []
    for _ in range(2):
        job, record = submit(client, photos, target="top:2")
        run(worker, record)
        uris = [uri for row in job.results() for uri in (row.heatmap_uri, row.overlay_uri)]
        written.append({uri: client.storage.get(uri).data for uri in uris})
    assert len(written[0]) == 24
    assert written[0] == written[1]


def explain(worker, path, **words):
    request = ExplainRequest(
        **{
            "image_uri": str(path),
            "model": "tiles",
            "target": "top",
            "method": "gradcam",
            "layer": "auto",
            "fuse": None,
            "inputs": None,
            "outputs": DEFAULT_OUTPUTS,
            **words,
        }
    )
    return worker.pipeline.explain(request)


def test_pictures_have_the_right_size_type_and_place(client, worker, model, folder):
    path = folder / "corner.png"
    Image.fromarray(photo(row=48, column=64)).save(path)
    outputs = changed(DEFAULT_OUTPUTS, kinds=("heatmap", "overlay", "raw"))
    (row,) = explain(worker, path, target="bright", outputs=outputs)
    assert (row.class_name, row.status) == ("bright", Status.OK)
    heat = Image.open(io.BytesIO(client.storage.get(row.heatmap_uri).data))
    assert (heat.format, heat.mode, heat.size) == ("PNG", "L", (48, 32))
    y, x = np.unravel_index(np.asarray(heat).argmax(), (32, 48))
    assert abs((y + 0.5) / 32 - 48 / 60) < 0.12
    assert abs((x + 0.5) / 48 - 64 / 80) < 0.12
    overlay = Image.open(io.BytesIO(client.storage.get(row.overlay_uri).data))
    assert (overlay.format, overlay.size) == ("JPEG", (80, 60))
    raw = np.load(io.BytesIO(client.storage.get(row.raw_uri).data))
    assert raw.shape == (row.grid_height, row.grid_width)
    assert raw.max() == pytest.approx(row.raw_max)
    types = {
        kind: client.storage._client.head_object(
            Bucket=client.storage.bucket, Key=uri.split("/", 3)[3]
        )["ContentType"]
        for kind, uri in (("heatmap", row.heatmap_uri), ("overlay", row.overlay_uri))
    }
    assert types == {"heatmap": "image/png", "overlay": "image/jpeg"}


def test_an_urgent_image_waits_for_no_core_that_a_job_uses(worker, model, photos, monkeypatch):
    monkeypatch.setattr(worker.pipeline, "_cores", PrioritySemaphore(0))
    rows = []
    asks = threading.Thread(target=lambda: rows.extend(explain(worker, photos[0])), daemon=True)
    asks.start()
    asks.join(60)
    assert [bool(row.overlay_uri) for row in rows] == [True]


def test_the_parquet_part_holds_the_raw_signed_map(client, worker, model, photos):
    job, record = submit(client, photos[:1], target="dark")
    run(worker, record)
    (row,) = job.results()
    key = keys.results_part(record, ChunkRef(job_id=job.id, model=0, part=0, retry=0))
    (stored,) = parquet.read_results(client.storage.get(key).data)
    assert stored == row
    grid = np.array(row.map, np.float32).reshape(row.grid_height, row.grid_width) * row.map_scale
    assert row.status is Status.NO_EVIDENCE
    assert grid.max() <= 0 > grid.min()
    raw = exact_map(worker, model, photos[0])
    np.testing.assert_allclose(grid, raw, atol=float(np.abs(raw).max()) * 1e-3)
    assert row.raw_max == pytest.approx(float(raw.max()))


def exact_map(worker, model, path):
    """Return the float32 map of class 1 as the explainer makes it."""
    made = worker.cache.get(ModelKey(model.digest, "auto", None))
    photo = open_image(path.read_bytes(), max_pixels=10**6, uri=str(path))
    pixels, _ = prepare(photo, made.card.input, made.card.preprocessing)
    return made.explain(pixels[None], targets(1), "gradcam")[0][0].raw


def test_no_evidence_is_counted_by_itself(client, worker, model, photos):
    job, record = submit(client, photos, target="dark")
    run(worker, record)
    assert (job.status().ok, job.status().no_evidence) == (0, 6)


def test_an_items_own_target_overrides_the_jobs(client, worker, model, photos, folder):
    lines = [f"{photos[0]},dark", f"{photos[1]},", f"{photos[2]},horse"]
    (folder / "own.csv").write_text("image_uri,target\n" + "\n".join(lines))
    job, record = submit(client, [folder / "own.csv"], target="bright")
    run(worker, record)
    rows = list(job.results())
    assert [row.class_name for row in rows] == ["dark", "bright", None]
    assert rows[2].error_code == "unknown_target"


def test_a_model_whose_file_is_gone_fails_its_rows_and_not_the_worker(
    client, worker, photos, folder
):
    ref, _ = client.models.add(write_card(folder / "gone", "gone", version='"2"'))
    worker.cache._entries.clear()
    local = worker.store._settings.model_dir / ref.digest / "model.keras"
    local.write_bytes(b"tampered")
    with pytest.raises(DigestMismatch):
        worker.check(ref.digest)
    assert not local.exists(), "a wrong file is not kept"
    client.storage.put(keys.artifact(ref.digest, ".keras"), b"tampered", "x/y")
    job = client.submit([str(photos[0])], models=["gone"])
    run(worker, job.record())
    (row,) = job.results()
    assert row.error_code == "digest_mismatch"
    assert job.status().complete


def test_a_golden_image_with_another_answer_keeps_the_model_out(client, worker, folder):
    card = write_card(folder / "golden", "golden")
    Image.fromarray(photo()).save(folder / "golden" / "golden.png")
    golden = '[golden]\nimage = "golden.png"\nclass = "bright"\nprobability = {}\n'
    text = card.read_text()
    card.write_text(text + golden.format("0.9999"))
    with pytest.raises(GoldenMismatch, match="check input and preprocessing"):
        client.models.add(card)
    with pytest.raises(UnknownModel):
        client.models.find("golden")
    resized = np.asarray(Image.fromarray(photo()).resize((48, 32)), np.float32)[None] / 255
    chance = float(patch_model().predict(resized, verbose=0)[0, 0])
    card.write_text(text + golden.format(f"{chance:.3f}\ntolerance = 0.05"))
    client.models.add(card)


@pytest.mark.parametrize("build", [flatten_dense, deep_head])
def test_a_cam_job_on_a_model_where_cam_does_not_hold_fails_with_the_reason(
    client, worker, photos, folder, build
):
    name = build.__name__.replace("_", "-")
    net = build()
    card = write_card(folder / name, name, model=net, labels='["a", "b", "c", "d", "e", "f"]')
    height, width = net.inputs[0].shape[1:3]
    text = card.read_text().replace("height = 32", f"height = {height}")
    text = text.replace("width = 48", f"width = {width}")
    if build is flatten_dense:
        text = text.replace(', "e", "f"]', "]")
    card.write_text(text)
    client.models.add(card)
    job = client.submit([str(photos[0])], models=[name], method="cam", force=True)
    run(worker, job.record())
    (row,) = job.results()
    assert row.error_code == "method_refused"
    assert "global average pooling" in row.error_message


def test_a_request_survives_its_own_words(worker, model, photos):
    (row,) = explain(worker, photos[0])
    assert encode(row)["map"] is not None
    assert row.timings.explain > 0


@pytest.mark.parametrize("attempt", [1, CAREFUL_FROM])
def test_a_model_that_is_gone_fails_the_rows_of_any_attempt(client, worker, model, photos, attempt):
    job, record = submit(client, photos[:1])
    lost = changed(record, models=(changed(record.models[0], digest="0" * 64),))
    client.storage.put(keys.job(job.id), encode_json(lost), "application/json")
    ref = ChunkRef(job_id=job.id, model=0, part=0, retry=0)
    for _ in range(attempt - 1):
        worker.leases.take(ref)
        worker.leases.give_back(ref)
    worker.chunks.run(ref)
    (row,) = job.results()
    assert row.error_code == "unknown_model"
    assert (job.status().failed, job.status().complete) == (1, True)


def test_a_card_lets_a_large_jpeg_be_decoded_smaller(client, worker, folder, monkeypatch):
    scales = []

    def spied(*args, **options):
        made = open_reduced(*args, **options)
        scales.append(made[1])
        return made

    monkeypatch.setattr(load, "open_reduced", spied)
    large = np.kron(photo(), np.ones((16, 16, 1), np.uint8))
    Image.fromarray(large).save(folder / "large.jpg", quality=95)
    rows = []
    for decode in ("whole", "reduced"):
        card = write_card(folder / decode, f"tiles-{decode}")
        said = f'resize = "stretch"\ninterpolation = "area"\ndecode = "{decode}"'
        card.write_text(card.read_text().replace('resize = "stretch"', said))
        client.models.add(card)
        outputs = changed(DEFAULT_OUTPUTS, max_side=320)
        job = client.submit(
            [str(folder / "large.jpg")], models=[f"tiles-{decode}"], outputs=outputs
        )
        run(worker, job.record())
        rows.extend(job.results())
    whole, reduced = rows
    assert scales == [1, 4]
    assert (reduced.geometry.image_height, reduced.geometry.image_width) == (960, 1280)
    assert reduced.geometry == whole.geometry
    np.testing.assert_allclose(reduced.map, whole.map, atol=0.01 * max(whole.map))
    shown = [client.storage.get(row.overlay_uri).data for row in rows]
    pictures = [np.asarray(Image.open(io.BytesIO(data)), int) for data in shown]
    assert pictures[0].shape == (240, 320, 3)
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


@pytest.mark.parametrize("damage", [None, b"no Parquet"])
def test_a_job_says_which_part_of_its_manifest_is_lost_until_it_is_back(
    client, worker, model, photos, damage
):
    job = client.submit([str(photos[0])], models=["tiles"], job_id=f"lost-{damage is None}")
    (ref,) = job.record().refs()
    key = keys.manifest_part(job.id, 0)
    kept = client.storage.get(key).data
    if damage is None:
        client.storage.delete([key])
    else:
        client.storage.put(key, damage, "x/y")
    with pytest.raises(CallerError):
        worker.chunks.run(ref)
    (trouble,) = job.status().troubles
    assert key in trouble
    assert "put it back" in trouble
    client.storage.put(key, kept, "x/y")
    worker.chunks.run(ref)
    assert job.status().troubles == ()
    assert job.status().complete
