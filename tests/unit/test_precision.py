"""Computing in bfloat16: who can, what it costs a model, and when that's too much."""

import numpy as np
import pytest

from camfleet.contract.outputs import DEFAULT_OUTPUTS
from camfleet.errors import PrecisionRefused
from camfleet.jobstore import keys
from camfleet.registry.precision import Change, PrecisionCost
from camfleet.settings import Settings
from camfleet_worker.models import openvino_engine, precision
from camfleet_worker.models.choose import EngineSelector
from camfleet_worker.models.engine import Engine, SelectedEngine
from camfleet_worker.models.explainer import Explainer
from camfleet_worker.models.precision import measure
from camfleet_worker.pictures.trial_pictures import trial_pictures
from helpers.networks import cut, explainer, gap_dense, images

CALM = Change(median=0.001, largest=0.01, same=0.9)
ROUGH = Change(median=0.005, largest=0.03, same=0.8)


class Rounded(Engine):
    """An engine whose answers keep so many bits of their mantissas."""

    name = "rounded"
    pads = False

    def __init__(self, engine, bits):
        self._engine, self._bits = engine, bits
        self.nbytes, self.room = engine.nbytes, engine.room

    def start(self, pixels, extras):
        forward = self._engine.start(pixels, extras)
        return lambda: tuple(map(self._rounded, forward()))

    def gradients(self, activations, classes, extras):
        return self._engine.gradients(activations, classes, extras)

    def _rounded(self, values):
        mantissas, exponents = np.frexp(values)
        steps = 2.0**self._bits
        return np.ldexp(np.round(mantissas * steps) / steps, exponents).astype(np.float32)


@pytest.fixture(scope="module")
def exact():
    return explainer(gap_dense(shape=(48, 40, 3)))


def rounded(exact, bits):
    engines = [SelectedEngine(Rounded(engine, bits), 0.0) for engine in exact.engines]
    return Explainer(exact.card, exact.digest, exact.splits, exact.fuse, 4, engines)


def cost(flips=(0, 0), **changes):
    plain = {"median": 0.0005, "largest": 0.005, "same": 0.9, **changes}
    return PrecisionCost(images=20, flips=flips, change=Change(**plain), jpeg95=CALM, jpeg75=ROUGH)


def test_what_changes_maps_less_than_jpeg_is_taken(exact):
    found = measure(exact, rounded(exact, 8))
    assert found.why_refused() is None
    assert found.images == precision._TRIAL_PICTURES
    assert 0 < found.change.median < found.jpeg95.median < found.jpeg75.median
    assert found.speedup > 0


def test_what_changes_maps_more_is_refused_with_its_figures(exact):
    found = measure(exact, rounded(exact, 1))
    assert "half of the maps move by more than" in found.why_refused()
    assert "bits, allowed is" in found.why_refused()


def test_given_pictures_count_as_the_made_up_ones_do(exact):
    black = np.zeros((30, 50, 3), np.uint8)
    found = measure(exact, rounded(exact, 8), [black, black])
    assert found.images == precision._TRIAL_PICTURES + 2


def test_the_yardstick_is_what_jpeg_does_to_the_same_model():
    assert cost().why_refused() is None
    assert cost(median=0.0011).why_refused().startswith("half of the maps move by more than")
    assert cost(largest=0.031).why_refused() == "a map moves by 0.031 bits, allowed is 0.03 bits"
    assert cost((6, 0), same=0.65).why_refused() == (
        "the top class stays in 13 of 20 pictures, with JPEG 95 in 18 of 20"
    )
    assert cost(median=float("nan")).why_refused() is not None


@pytest.mark.parametrize(
    ("flips", "refused"),
    [
        ((0, 0), False),
        ((2, 1), False),  # among a few pictures a top class may be a matter of digits
        ((4, 0), False),
        ((5, 0), True),  # one time in 32 by chance
        ((9, 2), True),  # 67 of 2,048
        ((8, 2), False),  # 56 of 1,024
        ((0, 20), False),
    ],
)
def test_top_classes_that_chance_could_change_are_no_reason(flips, refused):
    assert (cost(flips).why_refused() is not None) is refused


def test_flips_are_told_apart_by_whose_they_are(exact):
    found = measure(exact, rounded(exact, 1))
    changed = found.flips[0] - found.flips[1]
    assert changed == round((found.jpeg95.same - found.change.same) * found.images)


def test_a_model_whose_maps_hardly_move_at_all_is_judged_by_what_can_be_seen():
    calm = Change(median=0.0, largest=0.0, same=1.0)
    seen = Change(median=9e-5, largest=9e-4, same=1.0)
    assert PrecisionCost(images=9, change=seen, jpeg95=calm, jpeg75=calm).why_refused() is None


def test_what_could_not_be_measured_is_refused_with_the_reason():
    assert PrecisionCost(reason="OpenVINO can't run it").why_refused() == "OpenVINO can't run it"
    assert PrecisionCost().why_refused() == "it was not measured"


def test_made_up_pictures_are_the_same_everywhere_and_of_any_size():
    for size in ((1, 1), (7, 300), (600, 520)):
        first, again = (list(trial_pictures(*size, 2)) for _ in range(2))
        assert [picture.shape for picture in first] == [(*size, 3)] * 2
        np.testing.assert_array_equal(first, again)
        assert first[0].dtype == np.uint8


@pytest.mark.parametrize(
    ("engine", "capabilities", "flags", "computed"),
    [
        ("auto", {"FP32", "BF16"}, "flags : fpu avx512_bf16 sse", ("bf16",)),
        ("auto", {"FP32", "BF16"}, "flags : fpu amx_bf16", ("bf16",)),
        ("auto", {"FP32", "BF16"}, "flags : fpu avx512f avx512bw", ()),  # OpenVINO emulates it
        ("auto", {"FP32"}, "flags : fpu avx512_bf16", ()),
        ("tensorflow", {"FP32", "BF16"}, "flags : fpu avx512_bf16", ()),
    ],
)
def test_who_computes_so(engine, capabilities, flags, computed, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(precision, "_CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(openvino_engine, "device_capabilities", lambda: frozenset(capabilities))
    assert precision.computed_here(Settings(engine=engine)) == computed


def test_no_other_engine_takes_the_place_of_openvino():
    selector = EngineSelector(Settings(engine="tensorflow", batch_size=4)).within("bf16")
    with pytest.raises(PrecisionRefused, match="OpenVINO alone computes so"):
        selector.select(cut(gap_dense()))


def test_an_image_alone_gets_the_bytes_that_it_gets_in_a_batch():
    """Else a chunk that runs image by image, after workers have died of it, held others."""
    settings = Settings(engine="openvino", batch_size=4, cpu_threads=2)
    engine, _ = EngineSelector(settings).within("bf16").select(cut(gap_dense()))
    batch = images(3, (12, 10, 3))
    together = engine.forward(batch, ())
    for number in range(3):
        for found, whole in zip(
            engine.forward(batch[number : number + 1], ()), together, strict=True
        ):
            np.testing.assert_array_equal(found[0], whole[number])


def test_pictures_of_a_precision_have_names_of_their_own():
    asked = ("s3://b/a.jpg", None, "0" * 64, "top", "gradcam", "auto", None, DEFAULT_OUTPUTS)
    assert keys.explanation(*asked) == keys.explanation(*asked, "float32")
    assert keys.explanation(*asked, "bf16") != keys.explanation(*asked)
