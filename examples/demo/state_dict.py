"""Read a PyTorch state dict without PyTorch, and without running what the file says.

A `.pth` file of before PyTorch 1.6 is a row of pickles (magic number, version, platform, the state
dict, the storage keys) and then the storages in the order of the keys, each an int64 count and its
little-endian numbers. A pickle can name any function to be called; this reader resolves the four
names that a state dict of float weights needs and refuses every other.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C


class StateDictError(Exception):
    """The file is not a legacy state dict, or it asks for more than one needs."""


@dataclass(frozen=True)
class Storage:
    """A flat run of `count` numbers that follows the pickles."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view into a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of the legacy `.pth` file at `path` as arrays, by name."""
    with path.open("rb") as file:
        if not _starts_with_magic(file):
            raise StateDictError(f"{path.name} is not a PyTorch file of the legacy format")
        _load(file)  # the version of the protocol
        _load(file)  # the writer's platform: sizes of its C types
        tensors = _load(file)
        storages = _read_storages(file, _load(file), tensors)
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _starts_with_magic(file: BinaryIO) -> bool:
    try:
        return bool(_load(file) == MAGIC)
    except (pickle.UnpicklingError, EOFError):
        return False


def _load(file: BinaryIO) -> Any:
    return RestrictedUnpickler(file).load()


def _read_storages(
    file: BinaryIO, keys: list[str], tensors: dict[str, Tensor]
) -> dict[str, NDArray[Any]]:
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if set(keys) != set(known):
        raise StateDictError("the storages of the file are not those of its tensors")
    return {key: _read_storage(file, known[key]) for key in keys}


def _read_storage(file: BinaryIO, storage: Storage) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    data = file.read(count * storage.dtype.itemsize)
    if count != storage.count or len(data) != count * storage.dtype.itemsize:
        raise StateDictError(f"storage {storage.key} is cut short")
    return np.frombuffer(data, storage.dtype)


def _view(tensor: Tensor, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    flat = storages[tensor.storage.key][tensor.offset :]
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    if min((tensor.offset, *tensor.strides, *tensor.shape)) < 0 or last >= flat.size:
        raise StateDictError(f"a tensor of shape {tensor.shape} reaches beyond its storage")
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)


def _rebuild_tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> Tensor:
    return Tensor(storage, offset, shape, strides)


ALLOWED: dict[tuple[str, str], Callable[..., Any] | np.dtype[Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the four names of a state dict and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise StateDictError(
                f"the file asks for {module}.{name}: not part of a state dict"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise StateDictError(f"the file refers to a {kind!r} that is not a plain storage")
        return Storage(str(key), dtype, int(count))
