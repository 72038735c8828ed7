"""Nobody waits behind a batch, or behind others' slow model: asked of a real worker."""

from contextlib import contextmanager
from operator import itemgetter

import keras
import pytest

from camfleet import Client
from helpers.databases import environ_on
from helpers.processes import Worker
from helpers.samples import patch_model, write_card, write_photos
from helpers.waiting import wait_until

DATABASE = 9
BATCH = 32
CHUNKS = 4


def slow_model(filters):
    """Return a model that takes a tenth to a quarter of a second for an image on one core."""
    image = maps = keras.Input((32, 48, 3))
    maps = keras.layers.UpSampling2D(3)(maps)
    for _ in range(2):
        maps = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(maps)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    return keras.Model(image, keras.layers.Dense(2, "softmax")(pooled))


@pytest.fixture(scope="module", params=[("openvino", 192), ("tensorflow", 96)], ids=itemgetter(0))
def waited(request, environ, tmp_path_factory):
    """Give a client of a worker of its own, with a quick and a slow model that are warm."""
    engine, filters = request.param
    folder = tmp_path_factory.mktemp(f"waiting-{engine}")
    own = {
        **environ_on(environ, DATABASE),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_ENGINE": engine,
        "CAMFLEET_BATCH_SIZE": str(BATCH),
        "CAMFLEET_CHUNK_SIZE": str(BATCH),
        "CAMFLEET_CONCURRENCY": "1",
        "CAMFLEET_INTERACTIVE_CONCURRENCY": "4",
    }
    worker = Worker(own, folder)
    try:
        worker.ready()
        with Client.from_environ(own) as client:
            names = [f"waiting-{speed}-{engine}" for speed in ("quick", "slow")]
            models = (patch_model(), slow_model(filters))
            photos = list(map(str, write_photos(folder / "photos", BATCH)))
            client.models._check = lambda *_: {}  # it would time batches of the slow model
            for name, model in zip(names, models, strict=True):
                client.models.add(write_card(folder / name, name, model=model), timeout=120)
                client.explain(photos[0], model=name).result(timeout=120)
            yield client, names, photos
    finally:
        worker.close()


@contextmanager
def busy(client, model, photos):
    """Give a job of several chunks, each a batch, of which the first is in work; cancel it."""
    job = client.submit(photos * CHUNKS, models=[model], keep_duplicates=True)
    wait_until(lambda: job.status().state == "running", 60)
    try:
        yield job
    finally:
        job.cancel()
        wait_until(lambda: not any(worker.chunks for worker in client.workers()), 300)
    assert job.status().failed == 0


def test_urgent_images_come_between_two_images_of_another_models_batch(waited):
    client, (quick, slow), photos = waited
    with busy(client, slow, photos) as job:
        for photo in photos[:5]:
            assert client.explain(photo, model=quick).result(timeout=60)[0].status == "ok"
        assert job.status().done <= BATCH, "each waited for a batch"


def test_urgent_images_come_between_two_images_of_their_own_models_batch(waited):
    client, (_, slow), photos = waited
    with busy(client, slow, photos) as job:
        for photo in photos[:3]:
            assert client.explain(photo, model=slow).result(timeout=60)
        assert job.status().done <= BATCH, "each waited for a batch"


def test_many_requests_for_a_slow_model_leave_slots_to_those_for_a_quick_one(waited):
    client, (quick, slow), photos = waited
    late = [client.explain(photo, model=slow) for photo in photos[:12]]
    assert client.explain(photos[0], model=quick).result(timeout=60)
    assert sum(not answer.ready() for answer in late) > 6
    assert all(answer.result(timeout=120) for answer in late)
