"""The demo's own parts: class names, the reader of PyTorch weights, packages in the cache."""

import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from examples.demo import assets, state_dict

from camfleet.registry.cards import load_card, parse_card


def test_a_class_is_called_by_its_first_synonym_unless_two_share_it() -> None:
    synonyms = {"0": "tench, Tinca tinca", "1": "crane", "2": "crane, machine"}

    assert assets.short_names(synonyms) == ["tench", "crane (1)", "crane (2)"]


def test_a_package_in_the_cache_is_not_downloaded_again(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "some_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("data/photo.png", b"photo")
    said: list[str] = []

    found = assets.Cache(tmp_path, said.append).extract(
        "some-package==1.0", "data/photo.png", tmp_path / "photos" / "photo.png"
    )

    assert found.read_bytes() == b"photo"
    assert said == []


def test_a_package_without_the_expected_file_is_named(tmp_path: Path) -> None:
    ZipFile(tmp_path / "some_package-1.0-py3-none-any.whl", "w").close()

    with pytest.raises(assets.AssetError, match=r"some-package==1\.0.*data/photo\.png"):
        assets.Cache(tmp_path, print).extract("some-package==1.0", "data/photo.png", tmp_path / "x")


@pytest.mark.parametrize("name", ["lite0.toml", "emotion.toml"])
def test_the_cards_are_valid_and_have_a_golden_image(name: str) -> None:
    card = parse_card((assets.CARDS / name).read_text("utf-8"), name)

    assert card.golden is not None


def test_the_emotion_card_names_the_golden_class(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_bytes((assets.CARDS / "emotion.toml").read_bytes())

    assert load_card(path).class_index("happy") == 3


@dataclass(frozen=True)
class Call:
    """Pickles as the call of `function` with `arguments`."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def legacy_file(path: Path, tensors: bytes, *, storage: bytes = b"") -> Path:
    """Write a `.pth` file of the legacy format around a pickled state dict."""
    head = b"".join(pickle.dumps(each, 2) for each in (state_dict.MAGIC, 1001, {}))
    path.write_bytes(head + tensors + pickle.dumps(["7"] if storage else [], 2) + storage)
    return path


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], *, count: int = 6) -> bytes:
    """Return the pickle of `{"w": tensor}` over the storage "7", as PyTorch writes it."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0007X\3\0\0\0cpuK%cNtQ" % count
    numbers = [b"(" + b"".join(b"K%c" % each for each in part) + b"t" for part in (shape, strides)]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + b"".join(numbers) + b"\x89"
    return b"\x80\2}X\1\0\0\0w" + call + b"ccollections\nOrderedDict\n)RtRs."


SIX = struct.pack("<q6f", 6, *range(6))


def test_a_state_dict_is_read_with_its_shape(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "w.pth", tensor((2, 3), (3, 1)), storage=SIX)

    found = state_dict.load_state_dict(file)

    np.testing.assert_array_equal(found["w"], [[0, 1, 2], [3, 4, 5]])


def test_a_transposed_tensor_is_read_by_its_strides(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "w.pth", tensor((3, 2), (1, 3)), storage=SIX)

    found = state_dict.load_state_dict(file)

    np.testing.assert_array_equal(found["w"], [[0, 3], [1, 4], [2, 5]])


def test_a_tensor_may_not_reach_beyond_its_storage(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "w.pth", tensor((2, 3), (4, 1)), storage=SIX)

    with pytest.raises(state_dict.StateDictError, match="beyond its storage"):
        state_dict.load_state_dict(file)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "w.pth", tensor((2, 3), (3, 1)), storage=SIX[:-1])

    with pytest.raises(state_dict.StateDictError, match="storage 7 is cut short"):
        state_dict.load_state_dict(file)


def test_a_pickle_that_calls_another_function_is_refused_before_the_call(tmp_path: Path) -> None:
    victim = tmp_path / "made-by-the-pickle"
    file = legacy_file(tmp_path / "w.pth", pickle.dumps(Call(os.mkdir, (str(victim),)), 2))

    with pytest.raises(state_dict.StateDictError, match="mkdir: not part of a state dict"):
        state_dict.load_state_dict(file)
    assert not victim.exists()


def test_storages_that_no_tensor_uses_are_refused(tmp_path: Path) -> None:
    file = legacy_file(tmp_path / "w.pth", pickle.dumps({}, 2), storage=SIX)

    with pytest.raises(state_dict.StateDictError, match="not those of its tensors"):
        state_dict.load_state_dict(file)


@pytest.mark.parametrize("data", [b"", b"PK\3\4", pickle.dumps({"w": 1}, 2)])
def test_a_file_of_another_format_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(data)

    with pytest.raises(state_dict.StateDictError, match=r"w\.pth is not a PyTorch file"):
        state_dict.load_state_dict(file)
