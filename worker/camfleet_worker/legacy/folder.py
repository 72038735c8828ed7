"""The files of a SavedModel folder, checked before anything in them is read."""

import stat
from pathlib import Path

from camfleet.errors import UnsupportedModelFile

_METADATA, _GRAPHS = "keras_metadata.pb", "saved_model.pb"
_MOST_METADATA = 64 << 20
_MOST_GRAPHS = 512 << 20
_MOST_FILES = 1_000


def check(folder: Path) -> int:
    """Return how many bytes of weights a SavedModel folder holds.

    Raises `UnsupportedModelFile` where one of its files is a link or too large.
    """
    weights = folder / "variables"
    beside = [folder / name for name in (_METADATA, _GRAPHS)]
    inside = sorted(weights.iterdir()) if _is_folder(weights) else []
    if len(inside) > _MOST_FILES:
        raise UnsupportedModelFile(f"{weights} holds {len(inside)} files: that is no SavedModel")
    sizes = {path: _size(path) for path in (*beside, *inside)}
    for path, most in zip(beside, (_MOST_METADATA, _MOST_GRAPHS), strict=True):
        if sizes[path] > most:
            raise UnsupportedModelFile(
                f"{path} has {sizes[path]:,} bytes, of which no model needs more than {most:,}"
            )
    return sum(sizes[path] for path in inside)


def _is_folder(path: Path) -> bool:
    _refuse_link(path)
    return path.is_dir()


def _size(path: Path) -> int:
    """Return a regular file's size, 0 if there is none."""
    _refuse_link(path)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(found.st_mode):
        raise UnsupportedModelFile(f"{path} is no regular file: that is no SavedModel")
    return found.st_size


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise UnsupportedModelFile(
            f"{path} is a link to {path.readlink()}: links aren't followed; if that file is what "
            "you want converted, copy the folder with `cp -rL` first"
        )
