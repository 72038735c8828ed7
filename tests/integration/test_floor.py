"""The noise floor, measured by a worker's real parts: what it is, and what can't be measured."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from camfleet.audit.movement import floor_of
from camfleet.audit.studies import floor
from camfleet.contract.codec import decode_json
from camfleet.contract.messages import ExplainRequest
from camfleet.contract.outputs import Outputs
from camfleet.contract.records import ChunkRef
from camfleet.contract.studies import COPIES, FloorAnswer, FloorRecord
from camfleet.jobstore import keys
from camfleet_worker.pictures.copies import copy
from helpers.networks import deep_head
from helpers.samples import write_card
from helpers.watched_way import WatchedWay
from helpers.worker_services import client_of, services_in

PHOTOS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("floor")


@pytest.fixture(scope="module")
def worker(settings, folder):
    with services_in(folder, settings) as made:
        yield made


@pytest.fixture(scope="module")
def client(settings, worker):
    with client_of(worker, settings, chunk_size=5) as made:
        yield made


@pytest.fixture(scope="module")
def model(client, folder):
    card = write_card(folder / "card", "floors", model=deep_head(3), labels='["a", "b", "c"]')
    text = card.read_text().replace("height = 32\nwidth = 48", "height = 12\nwidth = 12")
    card.write_text(text)
    return client.models.add(card)[0]


def photos(place):
    rng = np.random.default_rng(0)
    place.mkdir()
    for number in range(PHOTOS):
        small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        small.resize((50, 40), Image.Resampling.BICUBIC).save(place / f"{number:02d}.png")
    return sorted(place.iterdir())


@pytest.fixture
def explained(client, worker, model, folder):
    """Explain photographs of its own; give the paths and the job's record."""

    def run(name):
        paths = photos(folder / name)
        job = client.submit(
            [str(path) for path in paths], models="floors", target="top:2", job_id=f"floor-{name}"
        )
        record = job.record()
        for part in range(record.parts):
            worker.chunks.run(ChunkRef(job_id=record.job_id, model=0, part=part, retry=0))
        return paths, record, list(job.results())

    return run


def js(p, q):
    """Return the Jensen-Shannon divergence of two maps in bits, as Lin wrote it."""
    p, q = (np.maximum(one, 0).ravel() / np.maximum(one, 0).sum() for one in (p, q))
    middle = (p + q) / 2

    def entropy(shares):
        return -sum(share * np.log2(share) for share in shares.tolist() if share)

    return entropy(middle) - (entropy(p) + entropy(q)) / 2


def test_distances_are_those_of_copies_that_are_explained_as_images(
    client, worker, explained, folder
):
    paths, record, rows = explained("oracle")
    first = {row.image_uri: row for row in rows if row.rank == 0}
    parts = []
    found = floor.measure(record, 0, 100, client.storage, worker.studies.make, on_part=parts.append)
    assert sum(parts) == record.parts
    warm = [str(path) for path in paths if first[str(path)].status == "ok"]
    assert found.explained == len(warm)
    assert found.again < 1e-3
    expected = {kind: [] for kind in COPIES}
    for path in warm:
        row = first[path]
        for kind in COPIES:
            changed = copy(np.array(Image.open(path)), kind, row.item_id)
            place = folder / "copy.png"
            Image.fromarray(changed).save(place)
            request = ExplainRequest(
                image_uri=str(place), inputs=None, model="floors", target=str(row.class_index),
                method="gradcam", layer="auto", fuse=None, outputs=Outputs(kinds=()),
            )  # fmt: skip
            (other,) = worker.pipeline.explain(request)
            if other.map is not None and max(other.map) > 0:
                expected[kind].append(js(np.array(row.map), np.array(other.map)))
    for kind in COPIES:
        assert found.distances[kind] == pytest.approx(expected[kind], abs=2e-3), kind
    assert floor_of(found).median == pytest.approx(
        np.median([np.median(own) for own in expected.values()]), abs=1e-3
    )


def test_urgent_images_go_first_between_all_that_is_measured(
    client, worker, explained, monkeypatch
):
    paths, record, _ = explained("way")
    way = WatchedWay()
    monkeypatch.setattr(worker.pipeline, "_way", way)
    found = floor.measure(record, 0, 100, client.storage, worker.studies.make)
    assert 0 < found.explained <= len(paths)
    assert len(way.given) == found.explained * (2 + len(COPIES))  # fetched, decoded, and each copy


def test_what_was_answered_isnt_asked_again(client, worker, explained):
    _, record, _ = explained("again")
    asked = Counter()

    def ask(request):
        asked[request] += 1
        return worker.studies.make(request)

    found = floor.measure(record, 0, 100, client.storage, ask)
    assert set(asked.values()) == {1}
    before = asked.total()
    assert floor.measure(record, 0, 50, client.storage, ask) == found
    client.storage.delete([keys.floor(record.job_id, 0)])
    assert floor.measure(record, 0, 100, client.storage, ask) == found
    assert asked.total() == before
    assert floor.read(record, 0, client.storage) == found


def test_the_same_images_are_chosen_whoever_asks(client, worker, explained):
    _, record, _ = explained("chosen")
    few = [
        floor.measure(record, 0, count, client.storage, worker.studies.make) for count in (3, 3, 6)
    ]
    assert few[0].explained == few[1].explained == 3
    assert few[2].explained == 6
    assert set(few[0].distances["jpeg"]) <= set(few[2].distances["jpeg"])


def test_copies_that_fail_are_counted_and_named(client, worker, explained):
    paths, record, rows = explained("failing")
    warm = [row.image_uri for row in rows if row.rank == 0 and row.status == "ok"]
    gone, changed = (path for path in paths if str(path) in warm[:2])
    gone.unlink()
    changed.write_bytes(paths[-1].read_bytes())
    found = floor.measure(record, 0, 100, client.storage, worker.studies.make)
    assert found.explained == len(warm) - 2
    named = {one.code: (one.copies, one.image_uri) for one in found.failures}
    assert named["image_not_found"] == (4, str(gone))
    assert named["image_unreadable"] == (4, str(changed))
    total = sum(map(len, found.distances.values())) + sum(one.copies for one in found.failures)
    assert total == 4 * len(warm)


def test_an_answer_to_another_question_is_named(client, worker, explained):
    _, record, _ = explained("mixed")
    floor.measure(record, 0, 100, client.storage, worker.studies.make)
    answers = sorted(client.storage.keys(f"jobs/{record.job_id}/studies/floor/"))
    data = client.storage.get(answers[0]).data
    decode_json(data, FloorAnswer)
    client.storage.delete([keys.floor(record.job_id, 0)])
    client.storage.put(answers[0], data.replace(b'"row": ', b'"row": 9'), "application/json")
    with pytest.raises(Exception, match="answers another question") as caught:
        floor.measure(record, 0, 100, client.storage, worker.studies.make)
    assert caught.value.code == "invalid_request"


def test_a_floor_that_measured_too_little_is_measured_again(client, worker, explained):
    _, record, _ = explained("little")
    found = floor.measure(record, 0, 2, client.storage, worker.studies.make)
    assert floor_of(found) is None
    key = keys.floor(record.job_id, 0)
    assert decode_json(client.storage.get(key).data, FloorRecord) == found
    found = floor.measure(record, 0, 100, client.storage, worker.studies.make)
    assert floor_of(found) is not None
