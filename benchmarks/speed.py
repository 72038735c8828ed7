"""The explainer beside the bare forward pass and the usual eager way, in turn in one run."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from examples.demo import lite0

from camfleet.contract.targets import parse_target
from camfleet.registry.cards import Card, CardInput
from camfleet.settings import Settings
from camfleet_worker.models import openvino_library
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.tf import conversion
from camfleet_worker.models.tf.cut import cut_model
from camfleet_worker.models.tf.signature import Signature
from camfleet_worker.process import runtime

ROUNDS = 5
BATCH = 16
EAGER = 2  # images: it's slow
MODELS: dict[str, Callable[[], Any]] = {
    "EfficientNetLite0": lite0.build,
    "MobileNetV2": lambda: keras.applications.MobileNetV2(weights=None),
    "ResNet50": lambda: keras.applications.ResNet50(weights=None),
}
Way = Callable[[], Any]


def interleaved(ways: dict[str, Way]) -> dict[str, list[float]]:
    """Return the seconds of each way, all measured in turn, after one warm-up each."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(other: list[float], own: list[float]) -> float:
    """Return the median of how many times as long the other way took, round by round."""
    return round(statistics.median(a / b for a, b in zip(other, own, strict=True)), 2)


def eager(model: Any, layer: str, photos: Any) -> Way:
    """Explain images one at a time by the function of Keras' own Grad-CAM example."""
    return lambda: [heatmap(photo[None], model, layer) for photo in photos[:EAGER]]


def heatmap(photo: Any, model: Any, layer: str) -> Any:
    """Return a heatmap: https://keras.io/examples/vision/grad_cam/, `make_gradcam_heatmap`."""
    grad_model = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        maps, scores = grad_model(photo)
        score = scores[:, tf.argmax(scores[0])]
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(0, 1, 2))
    heat = tf.squeeze(maps[0] @ weights[..., tf.newaxis])
    return (tf.maximum(heat, 0) / tf.math.reduce_max(heat)).numpy()


def openvino_forward(model: Any, photos: Any) -> dict[str, Way]:
    """Return the bare forward pass as OpenVINO documents it: for latency and for throughput.

    For latency one request of the whole batch, for throughput a queue of requests of one image.
    """
    library = openvino_library.library()
    return {
        "openvino_latency": _latency(library, _compiled(model, len(photos), "LATENCY"), photos),
        "openvino_throughput": _throughput(library, _compiled(model, 1, "THROUGHPUT"), photos),
    }


def _compiled(model: Any, batch: int, hint: str) -> Any:
    shape = (batch, *model.input_shape[1:])
    run = tf.function(lambda images: (model(images, training=False),))
    graph = run.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    made = conversion.from_graph(graph, ["scores"])
    options = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": "f32"}
    return openvino_library.library().Core().compile_model(made, "CPU", options)


def _latency(_library: Any, compiled: Any, photos: Any) -> Way:
    request = compiled.create_infer_request()
    return lambda: request.infer([photos], share_inputs=True, share_outputs=True)


def _throughput(library: Any, compiled: Any, photos: Any) -> Way:
    queue = library.AsyncInferQueue(compiled)
    scores: list[Any] = [None] * len(photos)

    def done(request: Any, row: int) -> None:
        scores[row] = request.get_output_tensor().data.copy()

    queue.set_callback(done)

    def way() -> None:
        for row in range(len(photos)):
            queue.start_async([photos[row : row + 1]], row, share_inputs=True)
        queue.wait_all()

    return way


def explainer(name: str, model: Any, photos: Any) -> Explainer:
    """Return a warm explainer of a built model, with the engine that a worker would choose."""
    shape = tuple(photos.shape[1:])
    card = Card(id=name, artifact="-", input=CardInput(height=shape[0], width=shape[1]))
    split = cut_model(model, Signature(shape), "auto", "auto", photos[:2])
    settings = Settings(batch_size=BATCH)
    made = Explainer(card, "", [split], "mean", BATCH, [EngineSelector(settings).select(split)])
    made.warm()
    return made


def explainer_alone(name: str) -> dict[str, Any]:
    """Compare decoded images in, maps out, with bare forward passes and with the eager way."""
    model = MODELS[name]()
    shape = tuple(model.input_shape[1:])
    photos = np.random.default_rng(0).uniform(-1, 1, (BATCH, *shape)).astype(np.float32)
    made = explainer(name, model, photos)
    targets = [parse_target("top")] * BATCH
    seconds = interleaved(
        {
            "camfleet": lambda: made.explain(photos, targets, "gradcam"),
            "keras_predict": lambda: model.predict(photos, batch_size=BATCH, verbose=0),
            **openvino_forward(model, photos),
            "eager": eager(model, made.layer, photos),
        }
    )
    images = {way: EAGER if way == "eager" else BATCH for way in seconds}
    per_image = {
        way: [1e3 * taken / images[way] for taken in times] for way, times in seconds.items()
    }
    bare = min(("openvino_latency", "openvino_throughput"), key=lambda way: sum(per_image[way]))
    per_image["openvino_forward"] = per_image[bare]
    shown = ("camfleet", "keras_predict", "openvino_forward", "eager")
    return {
        "name": f"explainer_alone_{name}",
        "engine": made.engines[0].name,
        "threads": runtime.threads(Settings()),
        **{f"{way}_ms_per_image": round(statistics.median(per_image[way]), 2) for way in shown},
        **{
            f"throughput_ratio_to_{way}": ratio(per_image[way], per_image["camfleet"])
            for way in shown
            if way != "camfleet"
        },
    }


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    for name in MODELS:
        yield explainer_alone(name)
