"""Keras models from TF.js layers models that are bundled as JavaScript modules.

Such a bundle is a module per file: `model.min.js` holds topology and weight manifest as a literal,
each shard is base64 text. Weights are in one byte each, with minimum and scale.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras.src.legacy.saving import saving_utils  # old configurations have no public way in

WORDS = {"!0": "true", "!1": "false"}


def module(text: str) -> Any:
    """Return the value of `exports` in a bundle of one module."""
    literal = re.search(r"\.exports=([{\"].*)\},\{\}\]\},\{\},\[1\]\)", text)
    if literal is None:
        raise ValueError("not a bundle of one module")
    return json.loads(as_json(literal.group(1)))


def as_json(literal: str) -> str:
    """Return a minified JavaScript literal as JSON: keys quoted, numbers and booleans expanded."""
    if literal.startswith('"'):
        return literal
    literal = re.sub(r"![01]", lambda found: WORDS[found.group()], literal)
    literal = re.sub(r"([{,])([A-Za-z_]\w*):", r'\1"\2":', literal)
    return re.sub(r"([:,\[]-?)\.(\d)", r"\g<1>0.\2", literal)


def rebuild(model: Mapping[str, Any], shards: bytes) -> Any:
    """Return the Keras model of a `model.json` and its shards, joined."""
    topology = model["modelTopology"]["model_config"]
    made = saving_utils.model_from_config(modern(topology))
    values = arrays(model["weightsManifest"], shards)
    for layer in made.layers:
        if layer.weights:
            layer.set_weights([values[name_of(layer, weight)] for weight in layer.weights])
    return made


def name_of(layer: Any, weight: Any) -> str:
    """Return the name that a layer's weight had before Keras 3."""
    depthwise = type(layer).__name__ == "DepthwiseConv2D" and weight.name == "kernel"
    return f"{layer.name}/{'depthwise_kernel' if depthwise else weight.name}"


def modern(config: Any) -> Any:
    """Return a configuration with the names that Keras 3 knows."""
    if isinstance(config, list):
        return [modern(item) for item in config]
    if not isinstance(config, dict):
        return config
    renamed = {"Model": "Functional"}
    return {
        key: renamed.get(value, value) if key == "class_name" else modern(value)
        for key, value in config.items()
    }


def arrays(manifest: list[Mapping[str, Any]], shards: bytes) -> dict[str, Any]:
    """Return the weights by name, unpacked to float32."""
    found, start = {}, 0
    for entry in (weight for group in manifest for weight in group["weights"]):
        packing = entry.get("quantization", {"dtype": entry["dtype"], "scale": 1, "min": 0})
        count, kind = int(np.prod(entry["shape"])), np.dtype(packing["dtype"])
        packed = np.frombuffer(shards, kind, count, start).reshape(entry["shape"])
        found[entry["name"]] = packed.astype(np.float32) * packing["scale"] + packing["min"]
        start += count * kind.itemsize
    if start != len(shards):
        raise ValueError(f"the manifest describes {start} bytes, the shards have {len(shards)}")
    return found


def load(files: Mapping[str, str]) -> Any:
    """Return the model in a folder's files: name to text."""
    shards = [files[name] for name in sorted(files) if "shard" in name]
    joined = b"".join(base64.b64decode(module(shard)) for shard in shards)
    return rebuild(module(files["model.min.js"]), joined)
