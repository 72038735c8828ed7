"""Plain values in a configuration: numbers, texts, tensors, slices. Nothing here names code."""

from typing import Any

from camfleet_worker.models.files.allowed import DTYPES
from camfleet_worker.models.files.refusals import broken, short

KINDS = (
    *("__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"),
    *("__tuple__", "TensorShape"),
)


class Data:
    """Rebuilds plain values, and refuses anything else among them."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def plain(self, value: Any, where: str) -> Any:
        """Return a value that holds numbers, texts, lists and tensors alone."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, list):
            return [self.plain(item, where) for item in value]
        if "class_name" not in value:
            return {key: self.plain(item, where) for key, item in value.items()}
        kind = value["class_name"]
        if kind not in KINDS:
            raise broken(
                self._shown,
                f"{where} has a value of class {short(kind)} where tensors and plain values go",
            )
        return self.special(kind, value, where)

    def special(self, kind: str, value: dict[str, Any], where: str) -> Any:
        """Return a tensor, slice or the like, which Keras writes as an object of its own."""
        if kind in ("__tuple__", "TensorShape"):
            items = value.get("items")
            return self.plain(items if isinstance(items, list) else [], where)
        found = value.get("config")
        inner = found if isinstance(found, dict) else {}
        if kind == "__ellipsis__":
            config: dict[str, Any] = {}
        elif kind == "__slice__":
            keys = ("start", "stop", "step")
            config = {key: self.plain(inner.get(key), where) for key in keys}
        elif kind == "__keras_tensor__":
            config = {
                "shape": self._shape(inner.get("shape"), where),
                "dtype": self._dtype(inner.get("dtype"), where, "string"),
                "keras_history": self._history(inner.get("keras_history"), where),
            }
        else:
            self._check_numbers(inner.get("value"), where)
            config = {"value": inner["value"], "dtype": self._dtype(inner.get("dtype"), where)}
        return {"class_name": kind, "config": config}

    def _shape(self, shape: Any, where: str) -> Any:
        good = isinstance(shape, list) and all(size is None or _is_count(size) for size in shape)
        return shape if good else self._refuse(f"{where} has a tensor of the shape", shape)

    def _dtype(self, dtype: Any, where: str, *more: str) -> Any:
        good = isinstance(dtype, str) and dtype in {*DTYPES, *more}
        return dtype if good else self._refuse(f"{where} has a tensor of the dtype", dtype)

    def _history(self, history: Any, where: str) -> Any:
        good = isinstance(history, list) and is_place(*history)
        return history if good else self._refuse(f"{where} has a tensor from", history)

    def _check_numbers(self, value: Any, where: str) -> None:
        if isinstance(value, list):
            for item in value:
                self._check_numbers(item, where)
        elif not isinstance(value, (bool, int, float)):
            self._refuse(f"{where} has a tensor of", value)

    def _refuse(self, what: str, value: Any) -> Any:
        raise broken(self._shown, f"{what} {short(value)}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_place(name: Any = None, *indices: Any) -> bool:
    """Return whether values name a tensor: a layer, the number of its call, and of the result."""
    return isinstance(name, str) and len(indices) == 2 and all(map(_is_count, indices))
