"""The demo's own parts: page, class names, the reader of PyTorch weights, packages in the cache."""

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
from examples.demo.gallery import Row, write_gallery

from camfleet.contract.geometry import Geometry
from camfleet.contract.results import Result, Status, Timings
from camfleet.registry.cards import load_card, parse_card

OK = Result(
    item_id="cat.png",
    image_uri="/photos/cat.png",
    image_etag=None,
    model_id="lite0",
    model_version="1",
    model_digest="0" * 64,
    method="gradcam",
    layer="top_activation",
    target="top:3",
    rank=0,
    class_index=285,
    class_name="Egyptian cat",
    probability=0.707,
    logit=9.0,
    status=Status.OK,
    error_code=None,
    error_message=None,
    grid_height=7,
    grid_width=7,
    raw_max=1.0,
    map_scale=1.0,
    map=None,
    layer_maps=None,
    focus=None,
    regions=None,
    geometry=Geometry(
        image_height=300,
        image_width=451,
        input_height=224,
        input_width=224,
        left=75.5,
        top=0,
        right=375.5,
        bottom=300,
    ),
    heatmap_uri="s3://bucket/maps/heatmap.png",
    overlay_uri="s3://bucket/maps/overlay.jpg",
    raw_uri=None,
    timings=Timings(fetch=1, decode=1, explain=1, render=1, store=1),
)


def variant(**changes: object) -> Result:
    fields = {name: getattr(OK, name) for name in OK.__struct_fields__}
    return Result(**{**fields, **changes})


def page_of(folder: Path, *results: Result, photo: str = "photos/cat.png") -> str:
    rows = [Row(each, photo, "overlays/cat.jpg" if each.overlay_uri else None) for each in results]
    return write_gallery(folder, rows).read_text("utf-8")


def test_a_page_shows_the_class_its_probability_its_layer_and_the_grid(tmp_path: Path) -> None:
    page = page_of(tmp_path, OK)

    assert "Egyptian cat" in page
    assert "70.7%" in page
    assert "top_activation" in page
    assert "7 × 7 map" in page  # noqa: RUF001
    assert 'src="photos/cat.png"' in page
    assert 'src="overlays/cat.jpg"' in page


def test_an_image_has_one_card_and_one_original_for_all_its_classes(tmp_path: Path) -> None:
    page = page_of(tmp_path, OK, variant(rank=1, class_name="tabby"))

    assert page.count("<article>") == 1
    assert page.count('src="photos/cat.png"') == 1
    assert page.count('src="overlays/cat.jpg"') == 2


def test_the_same_image_with_another_model_has_a_card_of_its_own(tmp_path: Path) -> None:
    assert page_of(tmp_path, OK, variant(model_id="other")).count("<article>") == 2


@pytest.mark.parametrize("field", ["class_name", "layer", "model_id", "model_version", "method"])
def test_text_of_results_is_never_markup(tmp_path: Path, field: str) -> None:
    page = page_of(tmp_path, variant(**{field: '<script>alert("x")</script>'}))

    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page


def test_text_of_errors_is_never_markup(tmp_path: Path) -> None:
    failed = variant(
        status=Status.FAILED,
        error_code="<b>",
        error_message="<img onerror=x>",
        class_name=None,
        overlay_uri=None,
    )
    page = page_of(tmp_path, failed)

    assert "&lt;b&gt;" in page
    assert "&lt;img onerror=x&gt;" in page
    assert "<b>" not in page


def test_a_file_name_can_not_leave_its_attribute(tmp_path: Path) -> None:
    page = page_of(tmp_path, OK, photo='photos/a" onload="x#1.png')

    assert 'onload="x' not in page
    assert "photos/a%22%20onload%3D%22x%231.png" in page


@pytest.mark.parametrize(
    ("photo", "source"),
    [
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("//host/a.png", "host/a.png"),
        ("data:text/html,x", "data%3Atext/html%2Cx"),
        ("a\x1b\udcff\u202e.png", "a%1B%FF%E2%80%AE.png"),
    ],
)
def test_a_picture_comes_from_the_folder_of_the_page(
    tmp_path: Path, photo: str, source: str
) -> None:
    assert f'src="{source}"' in page_of(tmp_path, OK, photo=photo)


def test_text_of_results_shows_all_its_signs_and_no_secrets(tmp_path: Path) -> None:
    failed = variant(status=Status.FAILED, error_message="https://u:geheim@h/a?sig=geheim \u202e")
    page = page_of(tmp_path, variant(class_name="a\u202e\0\x1b\udcff"), failed)

    assert r"a\u202e\u0000\u001b\udcff" in page
    assert r"https://**@h/a?sig=** \u202e" in page
    assert "geheim" not in page
    assert "script-src 'none'" in page


def test_the_counts_tell_what_failed(tmp_path: Path) -> None:
    page = page_of(tmp_path, OK, variant(status=Status.FAILED, image_uri="/b", overlay_uri=None))

    assert "<dt>images</dt><dd>2</dd>" in page
    assert "<dt>failed</dt><dd>1</dd>" in page


def test_a_probability_that_rounds_to_nothing_is_not_called_zero(tmp_path: Path) -> None:
    page = page_of(tmp_path, variant(probability=0.0004))

    assert "&lt; 0.1%" in page


def test_the_page_asks_nobody_else_for_anything(tmp_path: Path) -> None:
    page = page_of(tmp_path, OK)

    assert "http:" not in page
    assert "https:" not in page


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
