"""A model with a layer that does harm: code of its own, which runs when a batch goes through."""

import sys
from importlib import import_module

import keras

from helpers.samples import patch_model, write_card

MODULE = "fault_layers"
ARMED = "os.path.exists(os.environ.get('FAULT', ''))"  # the harm is done while that file is there


def write_layer(folder, body):
    """Write a layer whose call runs `body` with the batch `x` as a NumPy array."""
    (folder / f"{MODULE}.py").write_text(
        "import keras, os, time, tensorflow as tf\n"
        "@keras.saving.register_keras_serializable('faults')\n"
        "class Fault(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        def look(x):\n"
        f"            {body}\n"
        "            return x\n"
        "        return tf.ensure_shape(tf.numpy_function(look, [x], tf.float32), x.shape)\n"
        "    def compute_output_spec(self, x):\n"
        "        return keras.KerasTensor(x.shape, x.dtype)\n"
    )


def write_faulty_card(folder, code, body):
    """Write a card of a model `faulty` with that layer; workers find the code in PYTHONPATH."""
    write_layer(code, body)
    sys.path.insert(0, str(code))
    try:
        from fault_layers import Fault

        image = keras.Input((32, 48, 3))
        x = Fault(name="fault")(image)
        for layer in patch_model().layers[1:]:
            x = layer(x)
        model = keras.Model(image, x)
        return write_card(folder, "faulty", model=model, custom_code=f'["{MODULE}:Fault"]')
    finally:
        sys.path.remove(str(code))
        sys.modules.pop(MODULE, None)


def save_model_that_harms_when_loaded(path, module, body, model):
    """Save a model behind a layer `Harm` of a new module beside it, which runs `body` on loading.

    Returns the name for the card's `custom_code`; the module's folder must be in Python's path.
    """
    code = path.parent / f"{module}.py"
    template = (
        "import ctypes, keras, numpy as np, socket, time\n"
        "@keras.saving.register_keras_serializable('harm')\n"
        "class Harm(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x\n"
        "    @classmethod\n"
        "    def from_config(cls, config):\n"
        "        {body}\n"
        "        return cls(**config)\n"
    )
    code.write_text(template.format(body="pass"))
    sys.path.insert(0, str(path.parent))
    try:
        harm = import_module(module).Harm()
        image = keras.Input(model.inputs[0].shape[1:])
        x = harm(image)
        for layer in model.layers[1:]:
            x = layer(x)
        keras.Model(image, x).save(path)
    finally:
        sys.path.remove(str(path.parent))
        sys.modules.pop(module, None)
    code.write_text(template.format(body=body))
    return f"{module}:Harm"
