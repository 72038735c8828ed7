"""tf-keras-vis as a process to measure: its Gradcam, a batch a call, maps at the layer's grid."""

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis import __version__
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from benchmarks.peer import given, serve


def main() -> None:
    folder, case, photos = given()
    tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    tf.config.threading.set_inter_op_parallelism_threads(case.threads)
    model = keras.models.load_model(folder / "model.keras", compile=False)
    gradcam = Gradcam(model, model_modifier=ReplaceToLinear(), clone=False)
    score = CategoricalScore(list(case.classes))
    options = {
        "penultimate_layer": case.layer,
        "seek_penultimate_conv_layer": False,
        "expand_cam": False,
        "normalize_cam": False,
    }
    images = tf.constant(photos)
    np.save(folder / "tf_keras_vis.npy", np.asarray(gradcam(score, images, **options)))
    versions = {"tf-keras-vis": __version__, "tensorflow": tf.__version__}
    ways = {"tf_keras_vis": lambda: np.asarray(gradcam(score, images, **options))}
    serve(ways, len(photos), versions=versions)


if __name__ == "__main__":
    main()
