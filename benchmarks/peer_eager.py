"""Grad-CAM as Keras tutorials write it, as a process to measure: one image, eagerly, a tape."""

from typing import Any

import keras
import tensorflow as tf

from benchmarks.peer import given, serve

IMAGES = 2  # it's slow, and one image costs what another does


def main() -> None:
    folder, case, photos = given()
    tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    tf.config.threading.set_inter_op_parallelism_threads(case.threads)
    model = keras.models.load_model(folder / "model.keras", compile=False)
    layer = model.get_layer(case.layer).output
    conv, head = keras.Model(model.inputs[0], layer), keras.Model(layer, model.outputs[0])
    way = lambda: [_explained(conv, head, photo[None]) for photo in photos[:IMAGES]]  # noqa: E731
    serve({"eager_keras": way}, IMAGES, versions={"keras": keras.__version__})


def _explained(conv: Any, head: Any, image: Any) -> Any:
    with tf.GradientTape() as tape:
        maps = conv(image)
        tape.watch(maps)
        top = tf.reduce_max(head(maps), axis=1)
    weights = tf.reduce_mean(tape.gradient(top, maps), axis=(1, 2))
    return tf.nn.relu(tf.einsum("nhwk,nk->nhw", maps, weights)).numpy()


if __name__ == "__main__":
    main()
