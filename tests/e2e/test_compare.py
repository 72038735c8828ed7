"""camfleet compare: two jobs, in whatever order, and what an alarm needs."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace as changed

from camfleet.contract.records import ModelRef
from camfleet.contract.results import Status
from helpers.rows import MODEL, blob, job, row

GRID = (7, 7)
COUNT, CHUNK = 240, 40
NEXT = ModelRef(id="net", version="2", digest="1" * 64)


def maps(seed=0):
    """Return a map for each image, of 6 classes in turn."""
    rng = np.random.default_rng(seed)
    return [np.maximum(blob(rng, GRID), 0) for _ in range(COUNT)]


def noisy(found, seed=1, strength=0.02):
    rng = np.random.default_rng(seed)
    return [np.maximum(one + rng.normal(0, strength, GRID), 0) for one in found]


def elsewhere(found):
    return [np.roll(one, (3, 3), axis=(0, 1)) for one in found]


def rows(found, **changed):
    return [row(number, one, number % 6, **changed) for number, one in enumerate(found)]


def parts(made, order=None):
    chosen = made if order is None else [made[place] for place in order]
    return [chosen[first : first + CHUNK] for first in range(0, len(chosen), CHUNK)]


@pytest.fixture
def store(client):
    """Write a job of rows; give its id."""

    def write(name, made, order=None, model=MODEL):
        job(client.storage, name, parts(made, order), CHUNK, (model,))
        return name

    return write


@pytest.fixture
def compare(run, tmp_path):
    """Compare two jobs; give the exit code and the comparison."""

    def command(one, other, *words):
        place = tmp_path / f"{one}-{other}"
        done = run("compare", one, other, "--output", place, "--no-photographs", *words)
        if not place.exists():
            return done.returncode, done.stderr
        return done.returncode, json.loads((place / "comparison.json").read_bytes())

    return command


def test_a_job_and_itself_differ_by_nothing(store, compare):
    one = store("same", rows(maps()))
    code, found = compare(one, one)
    assert (code, found["verdict"]) == (0, "pass")
    assert found["counts"]["compared"] == COUNT
    assert found["measures"]["distance"] == {"low": 0, "median": 0, "high": 0}
    assert found["movement"]["value"] <= 0
    assert found["flips"]["differ"] == 0


def test_noise_passes_and_maps_elsewhere_alarm(store, compare):
    before = store("before", rows(maps()))
    assert compare(before, store("noise", rows(noisy(maps()))))[0] == 0
    code, found = compare(before, store("moved", rows(elsewhere(maps()))))
    assert (code, found["verdict"]) == (4, "moved")
    assert found["movement"]["low"] > 0.3
    assert "maps moved by" in found["reasons"][0]


def test_other_images_maps_are_as_far_as_the_ceiling(store, compare):
    shifted = maps()
    shifted = shifted[6:] + shifted[:6]  # of the same class
    code, found = compare(store("right", rows(maps())), store("wrong", rows(shifted)))
    assert code == 4
    assert found["movement"]["value"] == pytest.approx(1, abs=0.15)


def test_the_order_of_images_changes_nothing(store, compare):
    order = np.random.default_rng(5).permutation(COUNT).tolist()
    before = store("ordered", rows(maps()))
    straight = compare(before, store("after", rows(noisy(maps(), strength=0.2))))[1]
    mixed = compare(before, store("mixed", rows(noisy(maps(), strength=0.2)), order))[1]
    for name in ("movement", "measures", "counts", "flips", "classes", "verdict"):
        assert mixed[name] == straight[name], name
    moved = [[pair["one"]["item_id"] for pair in one["most_moved"]] for one in (straight, mixed)]
    assert moved[0] == moved[1]


def test_it_mirrors(store, compare):
    one = store("left", rows(maps()))
    other = store("right2", rows(noisy(maps(), strength=0.3)))
    there, back = compare(one, other)[1], compare(other, one)[1]
    assert there["movement"] == back["movement"]
    assert there["measures"]["distance"] == back["measures"]["distance"]


def test_two_models_of_one_job_are_compared_by_name(client, run, compare):
    both = parts(rows(maps())) + parts(rows(elsewhere(maps())))
    job(client.storage, "both", both, CHUNK, (MODEL, NEXT))
    done = run("compare", "both", "--json", "--no-photographs", "--output", "s3://camfleet/cmp")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (4, "moved")
    assert compare("both:net@2", "both:net@2")[0] == 0
    done = run("compare", "both:net@1")
    assert (done.returncode, "name the other side too" in done.stderr) == (2, True)
    done = run("compare", "both", "both")
    assert "say which model, one of both:net@1, both:net@2" in done.stderr


def test_comparisons_with_one_job_dont_replace_each_other(
    client, run, store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    store("c1", rows(maps()))
    store("p1", rows(elsewhere(maps())))
    both = parts(rows(maps())) + parts(rows(maps()))
    job(client.storage, "c2", both, CHUNK, (MODEL, NEXT))
    for sides in (("c1", "c1"), ("c1", "p1"), ("c2",)):
        run("compare", *sides, "--no-photographs")
    assert sorted(place.name for place in tmp_path.iterdir()) == [
        "camfleet-comparison-c1-c1",
        "camfleet-comparison-c1-p1",
        "camfleet-comparison-c2-net@1-c2-net@2",
    ]


def test_every_image_and_pair_is_accounted_for(store, compare):
    before, after = rows(maps()), rows(maps())
    before[0] = row(0)
    after[1] = row(1, maps()[1], 1, image_etag="another")
    after[2] = row(2, maps()[2], 5)
    after[3] = row(3, -np.ones(GRID), 3, status=Status.NO_EVIDENCE)
    before[4] = row(4, -np.ones(GRID), 4, status=Status.NO_EVIDENCE)
    after[5] = row("elsewhere", maps()[5], 5)
    before[6] = row(6, maps()[6], 0, target="not:class 0")
    code, found = compare(store("b", before), store("a", after))
    assert code == 0
    counts = found["counts"]
    assert counts["images"] == COUNT - 1
    assert (counts["only_one"], counts["only_other"]) == (1, 1)
    assert (counts["failed"], counts["changed"], counts["against"]) == (1, 1, 1)
    assert (counts["evidence_lost"], counts["evidence_gained"]) == (1, 1)
    assert counts["other_class"] == 2 + 1  # image 2 on both sides, the other of image 6
    assert counts["compared"] == COUNT - 7
    assert found["flips"]["differ"] == 1


def test_what_was_not_measured_never_passes(store, compare):
    few = rows(maps())[:10]
    code, found = compare(store("few", few), store("few2", few))
    assert (code, found["verdict"]) == (1, "undecidable")
    assert "only 10 pairs" in found["reasons"][0]
    alike = rows([np.ones(GRID)] * COUNT)
    code, found = compare(store("flat", alike), store("flat2", alike))
    assert (code, found["verdict"]) == (1, "undecidable")
    others = [row(f"x{number}", one, 0) for number, one in enumerate(maps())]
    assert compare(store("here", rows(maps())), store("there", others))[0] == 1


def test_missing_results_never_pass(client, store, compare):
    made = parts(rows(maps()))
    job(client.storage, "gaps", [*made[:-1], None], CHUNK)
    code, found = compare(store("whole", rows(maps())), "gaps")
    assert (code, found["verdict"]) == (1, "undecidable")
    assert found["reasons"] == ["the results of 40 images are missing"]


def test_limits_of_flips_and_of_evidence_are_kept(store, compare):
    after = rows(maps())
    after[:30] = [row(n, maps()[n], (n + 1) % 6) for n in range(30)]
    before = store("old", rows(maps()))
    assert compare(before, store("flipped", after))[0] == 0
    code, found = compare(before, "flipped", "--limit-flips", "0.1")
    assert (code, found["reasons"]) == (4, ["30 of 240 first answers differ, more than 10 %"])


def test_a_class_that_moved_among_others_alarms_where_none_may(store, compare):
    after = [elsewhere([one])[0] if n % 6 == 2 else one for n, one in enumerate(maps())]
    before = store("still", rows(maps()))
    code, found = compare(before, store("one-class", rows(after)))
    assert (code, [one["name"] for one in found["classes"] if one["moved"]]) == (0, ["class 2"])
    code, found = compare(before, "one-class", "--limit-classes", "0")
    assert (code, found["reasons"]) == (
        4,
        ["1 of 6 classes moved more than the others, and none may"],
    )


def test_a_suspicious_place_that_is_new_alarms_where_none_may(store, compare):
    corner = np.maximum(blob(np.random.default_rng(2), GRID, at=(0, 0)), 0)
    after = [corner if n % 6 == 2 else one for n, one in enumerate(maps())]
    before = store("untagged", rows(maps()))
    code, found = compare(before, store("tagged", rows(after)))
    assert (code, len(found["reasons"])) == (4, 1)
    assert "40 of 40 maps of class class 2 peak in row 1, column 1" in found["reasons"][0]
    (place,) = found["places"]
    assert (place["class_name"], place["cell"], place["grid"]) == ("class 2", [0, 0], [7, 7])
    assert compare(before, "tagged", "--limit-places", "1")[0] == 0


def test_labels_tell_which_flips_are_losses(store, compare):
    label = {n: f"class {n % 6}" for n in range(COUNT)}
    before = [row(n, one, n % 6, label=label[n]) for n, one in enumerate(maps())]
    after = [row(n, one, (n + (n < 8)) % 6, label=label[n]) for n, one in enumerate(maps())]
    flips = compare(store("l1", before), store("l2", after))[1]["flips"]
    assert (flips["lost"], flips["gained"], flips["both_right"]) == (8, 0, COUNT - 8)
    assert flips["chance"] == pytest.approx(2 / 2**8, abs=1e-6)


def test_other_methods_are_refused_and_pairs_are_written(client, store, run, tmp_path):
    store("grad", rows(maps()))
    record = client.reporter().record("grad")
    assert record.method == "gradcam"
    store("grad2", rows(maps()))
    done = run("compare", "grad", "grad2", "--output", tmp_path, "--no-photographs")
    assert done.returncode == 0
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.num_rows == COUNT
    assert set(table["outcome"].to_pylist()) == {"compared"}
    html = Path(tmp_path / "index.html").read_text()
    assert "<script" not in html
    assert "looks where the first one does" in html


def test_an_image_in_several_rows_and_parts_is_one_image(client, compare):
    found = maps()[:40]
    first = [row(n, one, 0, target="label:class 0") for n, one in enumerate(found)]
    second = [row(f"again {n}", one, 1, target="label:class 1") for n, one in enumerate(found)]
    second = [changed(one, image_uri=f"/photos/{n}.jpg") for n, one in enumerate(second)]
    same = [changed(one, image_etag="e") for one in first + second]
    for name, order in (("ab", same), ("ba", same[40:] + same[:40])):
        job(client.storage, name, parts(order), CHUNK)
    job(client.storage, "one", [same], 80)
    for other in ("ab", "ba", "one"):
        counts = compare("ab", other)[1]["counts"]
        assert (counts["images"], counts["only_one"], counts["compared"]) == (40, 0, 80), other


def test_an_image_that_comes_twice_doesnt_change_the_ceiling(client, store, compare):
    once = rows(maps())
    twice = [*once, *(changed(one, item_id=f"again {one.item_id}") for one in once)]
    after = rows(noisy(maps(), strength=0.2))
    again = [*after, *(changed(one, item_id=f"again {one.item_id}") for one in after)]
    expected = compare(store("once", once), store("once2", after))[1]["movement"]
    job(client.storage, "twice", parts(twice), CHUNK)
    job(client.storage, "twice2", parts(again), CHUNK)
    found = compare("twice", "twice2")[1]["movement"]
    assert found["ceiling"] == expected["ceiling"]


@pytest.mark.parametrize("strength", [0.02, 0.05, 0.1, 0.2])
def test_a_class_that_looks_elsewhere_is_named_however_noisy_the_others_are(
    store, compare, strength
):
    before = maps()
    after = noisy(before, strength=strength)
    after = [
        np.roll(one, (3, 3), axis=(0, 1)) if n % 6 == 2 else one for n, one in enumerate(after)
    ]
    name = f"noise{strength}".replace(".", "")
    found = compare(store("plain", rows(before)), store(name, rows(after)))[1]
    assert [one["name"] for one in found["classes"] if one["moved"]] == ["class 2"]


def test_labels_of_one_side_do(store, compare):
    plain = rows(maps())
    labelled = [changed(one, label=one.class_name) for one in plain]
    for one, other in (("nolabel", "label"), ("label", "nolabel")):
        store("label", labelled)
        store("nolabel", plain)
        flips = compare(one, other)[1]["flips"]
        assert (flips["both_right"], flips["lost"]) == (COUNT, 0)


def test_where_most_images_failed_nothing_passes(store, compare):
    after = [one if n < 60 else row(n) for n, one in enumerate(rows(maps()))]
    code, found = compare(store("fine", rows(maps())), store("failing", after))
    assert (code, found["reasons"]) == (
        1,
        ["only 60 of 240 images could be compared"],
    )
