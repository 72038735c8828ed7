"""A model's configuration, rebuilt: what Keras gets is made here, and never the file's own.

Every class is looked up in `allowed` and written down as that list spells it. Arguments are plain
values or such classes again; functions are activations; whatever matters only in training is
checked and then dropped.
"""

import re
from typing import Any, NamedTuple

from camfleet_worker.models.files import allowed, old, refusals
from camfleet_worker.models.files.bounds import check_depth
from camfleet_worker.models.files.data import KINDS, Data
from camfleet_worker.models.files.graph import check_calls, check_graph, check_size
from camfleet_worker.models.files.sizes import check_arguments

_FUNCTION_HOMES = (None, "builtins", "keras.activations")
_POLICY = re.compile(r"[a-z0-9_/]{1,64}")
_PATH = re.compile(r"[\w/.*-]{0,200}")  # of layers, in a map of policies: no costly expression
# Arguments of Keras' layers that are layers themselves, so that their module may be unsaid.
_INNER = ("layer", "forward_layer", "backward_layer", "cell", "cells", "layers")
# Arguments by the end of their names: where their classes are, and what stands for them here.
_TRAINING = {
    "initializer": ("keras.initializers", "zeros"),  # the file's weights take their place
    "regularizer": ("keras.regularizers", None),
    "constraint": ("keras.constraints", None),
}


class Trusted(NamedTuple):
    """Code that card and operator allow: names of classes and functions, and lambdas."""

    names: frozenset[str] = frozenset()
    lambdas: bool = False


NOTHING = Trusted()


def rebuild(config: Any, shown: str, trusted: Trusted = NOTHING) -> dict[str, Any]:
    """Return the configuration of the same model, made of what a model file may name alone.

    `shown` is the file's name in errors. Raises `UnsupportedModelFile`.
    """
    check_depth(config, shown)
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise refusals.broken(shown, "its configuration is not a model's")
    kind = config["class_name"]
    if kind not in allowed.MODELS and _plain(kind) not in trusted.names:
        raise refusals.broken(shown, f"it holds a {refusals.short(kind)} and no model")
    rebuilt: dict[str, Any] = _Rebuilder(shown, trusted).reference(
        config, "the model", home=None, inner=True
    )
    check_size(rebuilt, shown)
    return rebuilt


class _Rebuilder:
    """Rebuilds one file's configuration. `where` says in errors which layer is meant."""

    def __init__(self, shown: str, trusted: Trusted) -> None:
        self._shown = shown
        self._trusted = trusted
        self._data = Data(shown)

    def reference(
        self, found: dict[str, Any], where: str, *, home: str | None, inner: bool = False
    ) -> Any:
        """Return an object of a class, a function or a special value.

        Where the file doesn't say the class's module, it's `home`, or a layer's if `inner`.
        """
        kind = found.get("class_name")
        if not isinstance(kind, str):
            raise refusals.broken(self._shown, f"{where} names a class by {refusals.short(kind)}")
        if kind in KINDS:
            return self._data.special(kind, found, where)
        if kind == "function":
            return self._function(found, where)
        if kind == "__lambda__" and self._trusted.lambdas:
            return found
        where = _layer_name(found) or where
        is_old = found.get("module") is None
        module, kind = self._home(found, kind, home, where, inner=inner)
        config = found.get("config")
        if not isinstance(config, (dict, list)):
            raise refusals.broken(self._shown, f"{where} ({refusals.short(kind)}) is empty")
        if kind == "Lambda" and isinstance(config, dict):
            rebuilt = old.arguments_of_lambda(config) if is_old else config
        elif kind in allowed.MODELS and module is not None:
            rebuilt = self._model(kind, config, where)
        else:
            rebuilt = self._arguments(kind, config, where, own=module is not None, is_old=is_old)
        registered = kind if module is None else None
        result = {"module": module, "class_name": kind, "config": rebuilt}
        return result | {"registered_name": registered} | self._additions(found, where)

    def _arguments(
        self, kind: str, config: Any, where: str, *, own: bool, is_old: bool
    ) -> dict[str, Any]:
        """Return the arguments of a class, a trusted model's graph among them."""
        if not isinstance(config, dict):
            raise refusals.broken(self._shown, f"{where} ({refusals.short(kind)}) is a list")
        graph: dict[str, Any] = {}
        if not own and isinstance(config.get("layers"), list) and "input_layers" in config:
            graph = self._model("Functional", config, where)
        plain = old.arguments(kind, config) if is_old and own else config
        if own:
            check_arguments(kind, plain, where, self._shown)
        return {
            key: self._argument(kind, key, value, where, own=own)
            for key, value in plain.items()
            if key not in graph
        } | graph

    def _home(
        self, found: dict[str, Any], kind: str, home: str | None, where: str, *, inner: bool
    ) -> tuple[str | None, str]:
        """Return module and name of a class on the list; None as module of one that's trusted."""
        module, plain = found.get("module"), _plain(kind)
        if isinstance(module, str) and kind in allowed.HOMES.get(module, ()):
            registered = found.get("registered_name")
            if registered not in (None, "", kind):
                raise refusals.unknown_class(self._shown, module, str(registered), where)
            return (allowed.FUNCTIONAL, "Functional") if kind == "Model" else (module, kind)
        if plain in self._trusted.names:
            return None, plain
        if kind == "Lambda" and module in (None, "keras.layers"):
            if not self._trusted.lambdas:
                raise refusals.lambda_layer(self._shown)
            return "keras.layers", kind
        if module is None:
            kind = allowed.RENAMED.get(kind, kind)
            if home and kind in allowed.HOMES[home]:
                return home, kind
            if inner and kind in allowed.UNSAID:
                kind = "Functional" if kind == "Model" else kind
                return allowed.UNSAID[kind], kind
        raise refusals.unknown_class(self._shown, module, kind, where)

    def _additions(self, found: dict[str, Any], where: str) -> dict[str, Any]:
        """Return what stands beside a class's arguments: its shapes, and who else it is."""
        added = {}
        if found.get("build_config") is not None:
            added["build_config"] = self._data.plain(found["build_config"], where)
        shared = found.get("shared_object_id")
        if isinstance(shared, int):
            added["shared_object_id"] = shared
        return added

    def _model(self, kind: str, config: Any, where: str) -> dict[str, Any]:
        if isinstance(config, list):  # as Keras wrote Sequential models before 2.2
            config = {"layers": config}
        layers = config.get("layers")
        if not isinstance(layers, list):
            raise refusals.broken(
                self._shown, f"{where} has no list of layers (a subclassed model isn't one)"
            )
        check_calls(len(layers), self._shown)
        name = self._text(config.get("name") or kind.lower())
        new_layers = [self._layer(layer, where) for layer in layers]
        if kind == "Sequential":
            shape = self._data.plain(config.get("build_input_shape"), where)
            return {"name": name, "layers": new_layers, "build_input_shape": shape}
        ends = {
            key: self._data.plain(config.get(key), where)
            for key in ("input_layers", "output_layers")
        }
        for layer, new in zip(layers, new_layers, strict=True):
            new["name"] = self._text(layer.get("name"))
            new["inbound_nodes"] = self._nodes(layer.get("inbound_nodes"), new["name"])
        check_graph(new_layers, self._shown)
        trainable = config.get("trainable") is not False
        return {"name": name, "trainable": trainable, "layers": new_layers, **ends}

    def _layer(self, layer: Any, where: str) -> dict[str, Any]:
        if not isinstance(layer, dict):
            raise refusals.broken(self._shown, f"{where} has a layer that is none")
        rebuilt = self.reference(layer, where, home=None, inner=True)
        if not isinstance(rebuilt, dict) or "module" not in rebuilt:
            raise refusals.broken(self._shown, f"{where} has a layer that is none")
        return rebuilt

    def _nodes(self, nodes: Any, name: str) -> list[Any]:
        """Return a layer's calls, on whose edges only tensors and plain values are."""
        where = f"a call of layer {refusals.short(name)!r}"
        if not isinstance(nodes, list):
            raise refusals.broken(self._shown, f"{where} is none")
        check_calls(len(nodes), self._shown)
        return [self._data.plain(node, where) for node in nodes]

    def _argument(self, kind: str, key: str, value: Any, where: str, *, own: bool) -> Any:
        """Return an argument of a class; `own` says whether that is Keras'."""
        where_key = refusals.argument(where, key)
        for end, (home, instead) in _TRAINING.items():
            if key.endswith(end) and value is not None:
                checked = self._by_name(value, home, where_key)
                return instead if own else checked
        if key.endswith("activation") and own:
            return self._activation(value, where_key)
        if key == "dtype":
            return self._dtype(value, where_key)
        paths = value if kind == "DTypePolicyMap" and isinstance(value, dict) else ()
        if not all(map(_PATH.fullmatch, paths)):
            raise refusals.broken(self._shown, f"{where_key} a pattern that isn't a path")
        return self._value(value, where_key, inner=key in _INNER or not own)

    def _value(self, value: Any, where: str, *, inner: bool = False) -> Any:
        """Return any other argument: plain values, and classes from the list among them."""
        if isinstance(value, list):
            return [self._value(item, where, inner=inner) for item in value]
        if not isinstance(value, dict):
            return value
        if "class_name" in value:
            return self.reference(value, where, home=None, inner=inner)
        return {key: self._value(item, where) for key, item in value.items()}

    def _by_name(self, value: Any, home: str, where: str) -> Any:
        """Return an initializer or the like, given by its name or as an object."""
        if isinstance(value, dict) and "class_name" in value:
            if value["class_name"] == "function" and not self._is_trusted(value.get("config")):
                raise refusals.foreign_function(
                    self._shown, value.get("module"), value.get("config"), where
                )
            return self.reference(value, where, home=home)
        if isinstance(value, str):
            if value not in allowed.HOMES[home] and value not in self._trusted.names:
                raise refusals.unknown_class(self._shown, None, value, where)
            return value
        return self._data.plain(value, where)

    def _activation(self, value: Any, where: str) -> Any:
        if isinstance(value, str):
            if value in {*allowed.ACTIVATIONS, *allowed.ACTIVATION_ALIASES, *self._trusted.names}:
                return value
            raise refusals.activation(self._shown, value, where)
        if isinstance(value, dict):
            if value.get("class_name", "__lambda__") == "__lambda__":
                if self._trusted.lambdas and "class_name" in value:
                    return value
                raise refusals.lambda_function(self._shown, where)
            return self.reference(value, where, home="keras.layers")
        return self._data.plain(value, where)

    def _function(self, found: dict[str, Any], where: str) -> Any:
        """Return an activation, or a function that is trusted, by its name alone."""
        module, name = found.get("module"), found.get("config")
        if not isinstance(name, str):
            raise refusals.foreign_function(self._shown, module, name, where)
        if module in _FUNCTION_HOMES and name in allowed.ACTIVATIONS:
            plain, registered = name, "function"
        elif self._is_trusted(name):
            plain = registered = _plain(name)
        elif module in _FUNCTION_HOMES and where.endswith("activation"):
            raise refusals.activation(self._shown, name, where)
        else:
            raise refusals.foreign_function(self._shown, module, name, where)
        return {
            "module": "builtins",
            "class_name": "function",
            "config": plain,
            "registered_name": registered,
        }

    def _dtype(self, value: Any, where: str) -> Any:
        if isinstance(value, dict) and value.get("class_name") in ("Policy", "PolicyV1"):
            inner = value.get("config")  # as Keras 2 writes them
            value = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(value, dict) and "class_name" in value:
            return self.reference(value, where, home="keras.dtype_policies")
        if value is None or (isinstance(value, str) and _POLICY.fullmatch(value)):
            return value
        raise refusals.broken(self._shown, f"{where} {refusals.short(value)}")

    def _is_trusted(self, name: Any) -> bool:
        return isinstance(name, str) and _plain(name) in self._trusted.names

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise refusals.broken(self._shown, f"a name in it is {refusals.short(value)}")
        return value


def _plain(kind: str) -> str:
    """Return the name of a class, without the package under which it was registered."""
    return kind.rpartition(">")[2]


def _layer_name(found: dict[str, Any]) -> str:
    inner = found.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return f"layer {refusals.short(name)!r}" if name else ""
