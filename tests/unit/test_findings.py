"""What measured rows add up to: areas, intervals, verdicts."""

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.audit.studies import intervals, kept, wording
from camfleet.audit.studies.document import Estimate, ModelFaithfulness
from camfleet.audit.studies.findings import Measured, area, drop, fields, is_whole
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.studies import Curves, Pointing, RowFaithfulness

STEPS = (0.0, 0.5, 1.0)
FLAT = Curves(
    most=(0.8, 0.8, 0.8), least=(0.8, 0.8, 0.8), random=(0.8, 0.8, 0.8), centre=(0.8, 0.8, 0.8),
    kept=0.8, shuffled=0.8,
)  # fmt: skip


def curves(most=0.2, random=0.5, centre=0.6, kept=0.8, shuffled=0.4):
    """Return curves from 0.8 to 0.1 that differ by their values half way."""
    middles = {"most": most, "least": 0.75, "random": random, "centre": centre}
    return Curves(
        **{order: (0.8, middle, 0.1) for order, middle in middles.items()},
        kept=kept,
        shuffled=shuffled,
    )


def row(number=0, mean=None, blur=None, **changed):
    mean = mean or curves()
    found = RowFaithfulness(
        row=number,
        probability=0.8,
        steps=STEPS,
        mean=mean,
        blur=blur or mean,
        mask_mean=0.3,
        mask_shuffled=0.35,
        heads=(0.2, 0.3, 0.4),
        again=0.0001,
    )
    return replace(found, **changed)


def measured(rows, clusters=None):
    return Measured(rows, np.arange(len(rows)) if clusters is None else np.array(clusters))


def found(rows, clusters=None, noise=0.01):
    return fields(measured(rows, clusters), noise)


def model(**given):
    """Return the findings as a document has them."""
    return ModelFaithfulness(
        id="net", version="1", digest="0" * 64, refused=None, images=30, eligible=30,
        measured=given.pop("measured", 30), clusters=given.pop("clusters", 30),
        left_out=(), noise=given.pop("noise", 0.01), calibrated=given.pop("calibrated", False),
        sample=30, results="", **given,
    )  # fmt: skip


@pytest.mark.parametrize(("draw", "truth", "least"), [
    (lambda rng: rng.normal(0.06, 0.12, (20, 2000)), 0.06, 0.94),
    (lambda rng: rng.exponential(0.1, (20, 2000)), 0.1, 0.9),
    (lambda rng: rng.beta(0.3, 2, (20, 2000)), 0.3 / 2.3, 0.90),
])  # fmt: skip
def test_the_interval_of_a_mean_of_twenty_holds_it_about_as_often_as_it_says(draw, truth, least):
    estimates = intervals.means(draw(np.random.default_rng(3)), np.arange(20))
    held = np.mean([one.low <= truth <= one.high for one in estimates])
    assert least <= held <= 0.98


def test_an_interval_of_many_is_that_of_the_plain_bootstrap_and_of_one_is_its_value():
    assert intervals._tail(10_000) == pytest.approx(0.025, abs=1e-4)
    assert intervals._tail(20) == pytest.approx(0.0159, abs=2e-4)
    (one,) = intervals.means(np.full((3, 1), 0.4), np.zeros(3, np.int64))
    assert (one.value, one.low, one.high) == (0.4, 0.4, 0.4)


def test_an_area_is_worked_out_with_a_pencil():
    assert area(np.array(STEPS), (0.8, 0.2, 0.1)) == pytest.approx(0.25 + 0.075)
    assert area(np.array([0, 0.25, 1]), (1, 0, 0)) == pytest.approx(0.125)


def test_where_nothing_changes_every_area_is_the_probability_and_every_gap_is_0():
    own = found([row(number, FLAT) for number in range(30)])
    for fill in (own["mean"], own["blur"]):
        for name in ("deletion", "random", "centre", "insertion"):
            assert getattr(fill, name) == Estimate(value=0.8, low=0.8, high=0.8)
        assert fill.gap_random == fill.gap_centre == Estimate(value=0, low=0, high=0)
        assert (fill.drop.value, fill.increase.value, fill.better.value) == (0, 0, 0)
    assert own["faithful"] != "yes"


def test_a_drop_is_a_share_and_a_rise_is_none():
    found = drop(np.array([0.8, 0.8, 0.4]), np.array([0.6, 0.9, 0.0]))
    assert found == pytest.approx([0.25, 0, 1])


def test_maps_that_beat_both_controls_with_both_fills_are_faithful():
    own = found([row(number) for number in range(30)])
    assert (own["faithful"], own["beats_random"], own["beats_centre"]) == ("yes",) * 3
    assert own["mean"].gap_random.value == pytest.approx(0.15)
    assert own["mean"].curves[0] == pytest.approx((0.8, 0.2, 0.1))


def test_one_fill_that_says_otherwise_is_enough_to_doubt():
    worse = [row(number, blur=curves(most=0.7)) for number in range(30)]
    assert found(worse)["beats_random"] == "no"
    assert found(worse)["faithful"] == "no"
    either = [0.2, 0.8]
    mixed = [row(number, blur=curves(most=either[number % 2])) for number in range(30)]
    assert found(mixed)["beats_random"] == "undecided"


def test_losing_to_the_centre_alone_is_said_so():
    own = found([row(number, curves(centre=0.1)) for number in range(30)])
    assert (own["beats_random"], own["beats_centre"], own["faithful"]) == ("yes", "no", "no")
    words = wording.verdict(model(**own))
    assert words == "not faithful: the maps don't beat the centre"


def test_too_few_images_are_undecided_however_clear_they_look():
    own = found([row(number) for number in range(19)])
    assert own["faithful"] == "undecided"
    words = wording.verdict(model(**own, measured=19, clusters=19))
    assert words == "undecided: 19 independent images are fewer than 20"
    words = wording.verdict(model(**own, measured=1, clusters=1))
    assert words == "undecided: 1 independent image is fewer than 20"
    several = [row(number) for number in range(60)]
    assert found(several, [number % 15 for number in range(60)])["faithful"] == "undecided"


def test_too_few_images_arent_taken_for_noise():
    own = found([row(number) for number in range(5)])
    words = dict(wording.others(model(**own, measured=5, clusters=5)))
    said = words["map with the head permuted"]
    assert said.endswith("bits, noise 0.010 (a usual value): too few images to tell")
    mixed = [row(number, heads=(0.001 if number % 2 else 0.3,)) for number in range(30)]
    words = dict(wording.others(model(**found(mixed), noise=0.161304, calibrated=True)))
    said = words["map with the head permuted"]
    assert said.endswith("noise 0.161 (measured): which noise may explain")


def test_rows_of_one_group_count_as_one():
    rng = np.random.default_rng(1)
    middles = rng.uniform(0.2, 0.5, 25)
    rows = [row(number, curves(most=middles[number // 8])) for number in range(200)]
    alone = found(rows)["mean"].gap_random
    grouped = found(rows, [number // 8 for number in range(200)])["mean"].gap_random
    assert grouped.value == alone.value
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_an_interval_holds_the_true_mean_about_19_times_in_20():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        values = rng.normal(0.3, 0.2, (60, 1))
        (one,) = intervals.means(values, np.arange(60))
        held += one.low <= 0.3 <= one.high
    assert 180 <= held <= 198


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(10, 20, 0.299, 0.701), (20, 20, 0.839, 1.0), (0, 20, 0.0, 0.161)],  # Wilson 1927
)
def test_a_share_has_wilsons_interval(hits, count, low, high):
    flags = np.arange(count) < hits
    found = intervals.share(flags, np.arange(count))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)


def test_heads_are_compared_with_noise():
    rows = [row(number) for number in range(30)]
    own = found(rows)
    assert (own["heads"].value, own["shows_head"]) == (pytest.approx(0.3), "yes")
    still = [row(number, heads=(0.001, 0.002)) for number in range(30)]
    assert found(still)["shows_head"] == "no"
    assert found(rows, noise=0.5)["shows_head"] == "no"
    assert found([row(number, heads=()) for number in range(30)])["heads"] is None


def test_boxes_are_counted_on_the_images_that_have_some():
    inside = Pointing(peak_distance=0, centre_distance=20, energy=0.7, area=0.2)
    near = Pointing(peak_distance=14, centre_distance=15, energy=0.1, area=0.2)
    rows = [row(0, pointing=inside), row(1), row(2, pointing=near), row(3, pointing=inside)]
    own = found(rows)["boxes"]
    assert own.rows == 3
    assert (own.hits.value, own.hits_near.value) == pytest.approx((2 / 3, 1))
    assert (own.centre_hits.value, own.centre_hits_near.value) == pytest.approx((0, 1 / 3))
    assert (own.energy.value, own.area.value) == pytest.approx((0.5, 0.2))
    assert found([row()])["boxes"] is None


def test_maps_of_several_grids_have_no_common_curve():
    other = row(1, steps=(0.0, 0.4, 1.0))
    own = found([row(0), other])
    assert own["mean"].curves == own["mean"].steps == ()
    assert own["mean"].deletion.value == pytest.approx(
        (area(np.array(STEPS), (0.8, 0.2, 0.1)) + area(np.array([0, 0.4, 1]), (0.8, 0.2, 0.1))) / 2
    )


def test_rows_that_no_worker_writes_are_not_whole():
    assert is_whole(row())
    nan = curves(most=float("nan"))
    for spoilt in (
        row(error=ErrorInfo(code="x", message="y")),
        replace(row(), mean=None),
        replace(row(), probability=None),
        replace(row(), steps=(0.0, 1.0)),
        replace(row(), steps=()),
        replace(row(), heads=(float("inf"),)),
        row(mean=nan),
    ):
        assert not is_whole(spoilt)


def test_one_large_cluster_is_no_more_than_a_cluster():
    clusters = np.array([*range(19), *[19] * 40])
    flags = clusters == 19
    found = intervals.share(flags, clusters)
    assert found.low < 0.5 < found.high, "as good as one of two"
    alone = intervals.share(flags, np.arange(len(flags)))
    assert alone.high - alone.low < found.high - found.low


def test_the_interval_of_a_median_knows_what_belongs_together():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        clusters = np.repeat(np.arange(25), 4)
        values = rng.normal(size=25)[clusters] + rng.normal(0, 0.01, 100)
        found = intervals.median(values, clusters)
        held += found.low <= 0 <= found.high
    assert held >= 90
    apart = intervals.median(values, np.arange(100))
    assert apart.high - apart.low < found.high - found.low


@pytest.mark.parametrize(
    ("before", "later", "stays"),
    [
        ((24, 24), (5, 5), True),
        ((24, 24), (24, 24), False),  # the noise may have been measured meanwhile
        ((20, 20), (30, 0), True),  # of which the photographs are gone
        ((20, 20), (30, 29), False),
        ((20, 12), (40, 12), False),
        ((40, 12), (20, 12), True),
    ],
)
def test_what_was_measured_on_more_images_stays(before, later, stays):
    """Each has its sample, and how many of it were measured."""
    own = found([row()])
    one, other = (
        replace(model(**own, measured=measured), sample=sample)
        for sample, measured in (before, later)
    )
    assert kept.is_larger(one, other) is stays
    assert not kept.is_larger(one, replace(other, results="others")), "of other results"
