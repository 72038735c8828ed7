"""Why a model file is refused for what it names, and the way out."""

from typing import Any

from camfleet.errors import UnsupportedModelFile
from camfleet_worker.models.files.allowed import ACTIVATIONS, WITHHELD

CONVERT = "convert it with `camfleet models convert OLD NEW.keras`"
_KERAS_2 = ("TFOpLambda", "SlicingOpLambda")
_HAS = " has as its "
_MOST = 80  # characters of somebody's name in an error


def short(text: object) -> str:
    """Return a foreign name as an error may hold it: on one line, printable and not too long."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in str(text)[: _MOST + 1])
    return plain[:_MOST] + "..." if len(plain) > _MOST else plain


def argument(where: str, key: str) -> str:
    """Return the phrase for a layer's argument, to which its value is added."""
    return where.partition(_HAS)[0] + _HAS + short(key)


def lambda_layer(shown: str) -> UnsupportedModelFile:
    return UnsupportedModelFile(
        f"{shown} has a Lambda layer, which is code inside the file and is not run: replace it by "
        "a layer of Keras' own (Rescaling, Activation, ...) and save again, or trust the file's "
        'code in the card (custom_code = ["lambda"]) and on the workers '
        "(CAMFLEET_ALLOW_CUSTOM_CODE=1)"
    )


def unknown_class(shown: str, module: Any, kind: str, where: str) -> UnsupportedModelFile:
    """Return the refusal of a class that isn't listed, by where the file says it comes from."""
    named = f"{short(module)}.{short(kind)}"
    if kind in _KERAS_2:
        return UnsupportedModelFile(
            f"{shown}: Keras 2 recorded TensorFlow functions in it ({kind}): {CONVERT}"
        )
    if kind in WITHHELD:
        return UnsupportedModelFile(
            f"{shown}: {_being(where)} of class {kind}, which {WITHHELD[kind]}, and is not loaded: "
            "build the model without it, or put what it does into a layer of your own, in a module "
            "that is installed on the workers, and name that in the card "
            '(custom_code = ["MODULE:CLASS"])'
        )
    if module == "__main__":
        return UnsupportedModelFile(
            f"{shown} asks for {short(kind)}, which was defined in a script: put it into a module "
            "that is installed on the workers and name it in the card "
            f'(custom_code = ["MODULE:{short(kind)}"])'
        )
    if not module:
        return UnsupportedModelFile(
            f"{shown}: {_being(where)} of class {short(kind)}, which isn't Keras' own: if "
            "you wrote it, put it into a module that is installed on the workers and name it in "
            "the card "
            f'(custom_code = ["MODULE:{short(kind)}"]); if it is Keras 2\'s, {CONVERT}'
        )
    if str(module).partition(".")[0] in ("keras", "tf_keras", "tensorflow"):
        return UnsupportedModelFile(
            f"{shown}: {_being(where)} of class {named}, which is none of the layers, operations "
            "and the like that a model file may name: build the model from Keras' layers and save "
            f"it again; if Keras 2 wrote it, {CONVERT}; if it is a layer of your Keras, name it in "
            f'the card (custom_code = ["{short(module)}:{short(kind)}"])'
        )
    return UnsupportedModelFile(
        f"{shown} asks for {named}, which is not Keras' own: name it in the card "
        f'(custom_code = ["{short(module)}:{short(kind)}"]), or rebuild the model from Keras\' own '
        "layers"
    )


def _being(where: str, one: str = " one") -> str:
    """Return a phrase that says what a layer is, or has as an argument."""
    return where + (one if _HAS in where else " is")


def foreign_function(shown: str, module: Any, name: Any, where: str) -> UnsupportedModelFile:
    """Return the refusal of a function that is no activation of Keras'."""
    named = f"{short(module)}.{short(name)}" if module else short(name)
    return UnsupportedModelFile(
        f"{shown}: {_being(where, '')} the function {named}, which is not one of Keras' "
        "activations: give a function of Keras' by name (activation='relu') and save again, or put "
        "it into a module that is installed on the workers and name it in the card "
        f'(custom_code = ["MODULE:{short(name)}"])'
    )


def activation(shown: str, name: str, where: str) -> UnsupportedModelFile:
    """Return the refusal of an activation that Keras doesn't know by this name."""
    plain = name.removesuffix("_v2")
    if plain in ACTIVATIONS or plain == "swish":
        return UnsupportedModelFile(
            f"{shown}: {where} TensorFlow's tf.nn.{plain} ({name}), which Keras can't read back: "
            f"build the layer with activation={plain!r}, load the weights into it and save again"
        )
    return UnsupportedModelFile(
        f"{shown}: {where} the function {short(name)}, which isn't Keras' own: put it into a "
        "module that is installed on the workers and name it in the card "
        f'(custom_code = ["MODULE:{short(name)}"])'
    )


def lambda_function(shown: str, where: str) -> UnsupportedModelFile:
    return UnsupportedModelFile(
        f"{shown}: {where} a lambda, which is code inside the file and is not run: give a function "
        "of Keras' by name (activation='relu') and save again"
    )


def broken(shown: str, what: str) -> UnsupportedModelFile:
    """Return the refusal of a configuration that Keras wouldn't have written."""
    return UnsupportedModelFile(
        f"{shown} is not a model file of Keras: {what}; save the model again with "
        "model.save('model.keras'), or see `camfleet models convert` for old files"
    )
