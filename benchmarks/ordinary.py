"""The ordinary way to explain images on Celery, to compare with: one task an image.

Each task gets the image with boto3, runs an eager Grad-CAM, draws an overlay with OpenCV and puts
one picture with boto3. `celery -A benchmarks.ordinary worker`
"""

import os
from functools import cache
from typing import Any

from celery import Celery

app = Celery("ordinary", broker=os.environ["CAMFLEET_REDIS_URL"])
app.conf.update(
    task_default_queue="ordinary",
    result_backend=os.environ["CAMFLEET_REDIS_URL"],
    worker_prefetch_multiplier=1,
)


@cache
def _model() -> tuple[Any, Any]:
    """Return a model that gives feature maps and scores, and its preprocessing."""
    import keras

    model = keras.models.load_model(os.environ["ORDINARY_MODEL"])
    name = os.environ["ORDINARY_NAME"]
    package = {"ResNet50": "resnet50", "MobileNetV2": "mobilenet_v2"}[name]
    layer = {"ResNet50": "conv5_block3_out", "MobileNetV2": "out_relu"}[name]
    both = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    return both, getattr(keras.applications, package).preprocess_input


@cache
def _s3() -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["CAMFLEET_S3_ENDPOINT"])


@app.task  # type: ignore[untyped-decorator]  # Celery's
def explain(bucket: str, key: str) -> str:
    """Explain one image; return the key of its overlay."""
    import cv2
    import numpy as np
    import tensorflow as tf

    both, preprocess = _model()
    data = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.cvtColor(cv2.resize(photo, (224, 224)), cv2.COLOR_BGR2RGB).astype("float32")
    batch = preprocess(image[None])
    with tf.GradientTape() as tape:
        maps, scores = both(batch)
        top = scores[:, tf.argmax(scores[0])]
    weights = tf.reduce_mean(tape.gradient(top, maps), axis=(0, 1, 2))
    heat = tf.nn.relu(maps[0] @ weights[:, None])[..., 0].numpy()
    heat = cv2.resize(heat / (heat.max() or 1), photo.shape[1::-1])
    colours = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
    overlay = cv2.imencode(".jpg", cv2.addWeighted(photo, 0.5, colours, 0.5, 0))[1].tobytes()
    made = f"ordinary/{key}"
    _s3().put_object(Bucket=bucket, Key=made, Body=overlay, ContentType="image/jpeg")
    return made
