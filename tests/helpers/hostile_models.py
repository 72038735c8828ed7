"""Model files as an attacker would write them: an honest one, with something put in its place."""

import copy
import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py

from helpers.networks import gap_dense

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@cache
def _honest() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.keras"
        gap_dense().save(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def members() -> dict[str, bytes]:
    """Return the members of an honest .keras file, to be changed."""
    return dict(_honest())


def configuration() -> dict[str, Any]:
    """Return the configuration of an honest model, to be changed."""
    found: dict[str, Any] = json.loads(_honest()[CONFIG])
    return found


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a layer in a configuration: conv1, conv2, norm, relu, pool or the dense one."""
    found: dict[str, Any] = next(
        layer for layer in config["config"]["layers"] if layer["name"] == name
    )
    return found


def write(path: Path, config: Any = None, changes: dict[str, bytes] | None = None) -> Path:
    """Write a .keras file with another configuration, or other members."""
    files = members() | (changes or {})
    if config is not None:
        files[CONFIG] = config if isinstance(config, bytes) else json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_hdf5(path: Path, config: Any = None) -> Path:
    """Write an .h5 file with another configuration."""
    gap_dense().save(path)
    if config is not None:
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
    return path


def edited_weights(edit: Any) -> dict[str, bytes]:
    """Return the member with the weights after `edit` has had the open HDF5 file."""
    buffer = io.BytesIO(_honest()[WEIGHTS])
    with h5py.File(buffer, "r+", libver="latest") as file:
        edit(file)
    return {WEIGHTS: buffer.getvalue()}


def named(module: Any, kind: Any, config: Any = None, **more: Any) -> dict[str, Any]:
    """Return a reference to a class or function, as configurations hold them."""
    return {
        "module": module,
        "class_name": kind,
        "config": {} if config is None else config,
        **more,
    }


def function(module: Any, name: Any, **more: Any) -> dict[str, Any]:
    return named(module, "function", name, registered_name=name, **more)


def _as_layer(config: dict[str, Any], reference: dict[str, Any]) -> None:
    found = layer(config, "relu")
    for key in ("module", "class_name", "registered_name", "build_config"):
        found.pop(key, None)
    found.update(reference)


def _as_argument(key: str) -> Any:
    def put(config: dict[str, Any], reference: dict[str, Any]) -> None:
        layer(config, "conv1")["config"][key] = reference

    return put


def _in_activation_layer(config: dict[str, Any], reference: dict[str, Any]) -> None:
    inner = named("keras.layers", "LeakyReLU", {"negative_slope": reference})
    layer(config, "conv1")["config"]["activation"] = inner


def _in_list(config: dict[str, Any], reference: dict[str, Any]) -> None:
    layer(config, "conv1")["config"]["strides"] = [1, [{"deep": reference}]]


def _in_wrapper(config: dict[str, Any], reference: dict[str, Any]) -> None:
    _as_layer(config, named("keras.layers", "TimeDistributed", {"layer": reference}))


def _in_sequential(config: dict[str, Any], reference: dict[str, Any]) -> None:
    inner = {"name": "inner", "layers": [reference]}
    _as_layer(config, named("keras", "Sequential", inner))


def _on_edge(config: dict[str, Any], reference: dict[str, Any]) -> None:
    layer(config, "relu")["inbound_nodes"][0]["args"].append(reference)


def _on_keyword(config: dict[str, Any], reference: dict[str, Any]) -> None:
    layer(config, "relu")["inbound_nodes"][0]["kwargs"]["mask"] = [reference]


def _in_build_config(config: dict[str, Any], reference: dict[str, Any]) -> None:
    layer(config, "conv1")["build_config"] = {"input_shape": reference}


POSITIONS = {
    "layer": _as_layer,
    "activation": _as_argument("activation"),
    "initializer": _as_argument("kernel_initializer"),
    "regularizer": _as_argument("activity_regularizer"),
    "constraint": _as_argument("kernel_constraint"),
    "dtype": _as_argument("dtype"),
    "argument": _as_argument("padding"),
    "unknown argument": _as_argument("something"),
    "layer in an activation": _in_activation_layer,
    "list": _in_list,
    "wrapper": _in_wrapper,
    "nested model": _in_sequential,
    "edge": _on_edge,
    "keyword": _on_keyword,
    "build_config": _in_build_config,
}


def put(position: str, reference: dict[str, Any]) -> dict[str, Any]:
    """Return an honest configuration with a reference in one position."""
    config = configuration()
    POSITIONS[position](config, copy.deepcopy(reference))
    return config
