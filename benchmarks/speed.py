"""The explainer beside the bare forward pass and the usual eager way, in turn in one run."""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from camfleet.cards import Card, CardInput
from camfleet.expressions import parse_target
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.signature import Signature
from camfleet_worker.models.split import split

ROUNDS = 5
BATCH = 16


def interleaved(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median seconds of each way, all measured in turn, after one warm-up each."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def eager(model: Any, layer: str, photos: Any) -> None:
    """Explain two images as tutorials do: one at a time, eagerly, a tape through the head."""
    conv = keras.Model(model.inputs[0], model.get_layer(layer).output)
    head = keras.Model(model.get_layer(layer).output, model.outputs[0])
    for photo in photos[:2]:
        with tf.GradientTape() as tape:
            maps = conv(photo[None])
            tape.watch(maps)
            top = tf.reduce_max(head(maps), axis=1)
        weights = tf.reduce_mean(tape.gradient(top, maps), axis=(1, 2))
        tf.nn.relu(tf.einsum("nhwk,nk->nhw", maps, weights)).numpy()


def explainer_alone(name: str, layer: str) -> dict[str, Any]:
    """Compare decoded images in, maps out, with the bare forward pass and with the eager way."""
    model = getattr(keras.applications, name)(weights=None)
    shape = tuple(model.input_shape[1:])
    photos = np.random.default_rng(0).uniform(-1, 1, (BATCH, *shape)).astype(np.float32)
    card = Card(id=name, artifact="-", input=CardInput(height=shape[0], width=shape[1]))
    parts = split(model, Signature(shape), "auto", "auto", photos[:2])
    made = Explainer(card, "", [parts], "mean", BATCH)
    made.warm()
    targets = [parse_target("top")] * BATCH
    seconds = interleaved(
        {
            "camfleet": lambda: made.explain(photos, targets, "gradcam"),
            "keras_predict": lambda: model.predict(photos, batch_size=BATCH, verbose=0),
            "eager": lambda: eager(model, layer, photos),
        }
    )
    per_image = {
        "camfleet": seconds["camfleet"] / BATCH,
        "keras_predict": seconds["keras_predict"] / BATCH,
        "eager": seconds["eager"] / 2,
    }
    return {
        "name": f"explainer_alone_{name}",
        **{f"{way}_ms_per_image": round(1e3 * value, 2) for way, value in per_image.items()},
        "throughput_ratio_to_keras_predict": round(
            per_image["keras_predict"] / per_image["camfleet"], 2
        ),
        "throughput_ratio_to_eager": round(per_image["eager"] / per_image["camfleet"], 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield one result a model."""
    for name, layer in (("MobileNetV2", "out_relu"), ("ResNet50", "conv5_block3_out")):
        yield explainer_alone(name, layer)
