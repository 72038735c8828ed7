"""Comparisons of jobs as they lie in the bucket: noise that was kept, runtimes, other inputs."""

import numpy as np
import pytest
from msgspec.structs import replace as changed

from camfleet import Client
from camfleet.audit.comparisons.notes import notes
from camfleet.audit.comparisons.sides import Side
from camfleet.audit.comparisons.verdict import Limits
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import Item, ModelRef
from camfleet.contract.results import Status
from camfleet.contract.studies import COPIES, FloorFailure, FloorRecord
from camfleet.errors import InvalidRequest, ObjectDamaged
from camfleet.jobstore import keys, parquet
from camfleet.registry import cards
from helpers.rows import MODEL, blob, job, row

GRID = (7, 7)
COUNT = 60
CARD = b"""id = "scales"
artifact = "model.keras"
sha256 = "%s"
labels = ["class 0", "class 1"]

[input]
height = 32
width = 48

[inputs.scale]
default = 1.0
"""


def maps(seed=0):
    rng = np.random.default_rng(seed)
    return [np.maximum(blob(rng, GRID), 0) for _ in range(COUNT)]


def noisy(found, strength):
    rng = np.random.default_rng(1)
    return [np.maximum(one + rng.normal(0, strength, GRID), 0) for one in found]


def rows(found):
    return [row(number, one, number % 2) for number, one in enumerate(found)]


@pytest.fixture(scope="module")
def client(settings):
    with Client(settings) as made:
        yield made


@pytest.fixture(scope="module")
def store(client):
    def write(name, made, *, digest="0"):
        models = (ModelRef(id="net", version="1", digest=digest * 64),)
        return job(client.storage, f"compared-{name}", [made], len(made), models)

    return write


@pytest.fixture
def compare(client, tmp_path):
    def command(one, other, models=(0, 0), limits=None):
        sides = (Side(record, at) for record, at in zip((one, other), models, strict=True))
        return client.reporter().compare(*sides, str(tmp_path), limits=limits, show=False)[0]

    return command


@pytest.fixture
def keep(client):
    """Keep a floor with a job, as if workers had measured it."""

    def write(record, distances, /, failures=(), again=0.0001, **other):
        made = FloorRecord(
            schema_version=1,
            job_id=record.job_id,
            model_digest=record.models[0].digest,
            images=200,
            explained=len(distances),
            again=again,
            distances=dict.fromkeys(COPIES, tuple(distances)),
            failures=failures,
        )
        data = encode_json(sealed(changed(made, **other), 2))
        client.storage.put(keys.floor(record.job_id, 0), data, "application/json")

    return write


def test_a_measured_floor_takes_the_usual_ones_place(store, compare, keep):
    one, other = store("floor", rows(maps())), store("floor2", rows(noisy(maps(), 0.2)), digest="1")
    usual = compare(one, other)
    assert (usual.calibrated, usual.movement.floor, usual.movement.threshold) == (
        False, 0.003, 0.010,
    )  # fmt: skip
    keep(one, np.linspace(0, 0.04, 21).tolist())
    found = compare(one, other)
    assert found.calibrated
    assert found.movement.floor == pytest.approx(0.02)
    assert found.movement.threshold == pytest.approx(0.038)
    assert found.movement.value < usual.movement.value
    assert not compare(other, one).calibrated  # it's of the first side's model
    keep(one, [0.0001] * 10)
    assert compare(one, other).movement.threshold == 0.005


def test_noise_as_large_as_other_images_leaves_nothing_to_say(store, compare, keep):
    one, other = store("loud", rows(maps())), store("loud2", rows(maps()), digest="1")
    keep(one, [0.6] * 30)
    found = compare(one, other)
    assert found.verdict == "undecidable"
    assert "hardly less alike" in found.reasons[0]


def test_what_could_hide_in_noise_does_not_pass_and_a_twin_does(store, compare, keep):
    one = store("brittle", rows(maps()))
    twin = store("brittle2", rows(noisy(maps(), 1e-4)), digest="1")
    other = store("brittle3", rows(noisy(maps(), 0.25)), digest="2")
    assert compare(one, other).verdict == "moved"
    keep(one, [0.5 * compare(one, twin).movement.ceiling] * 30)
    found = compare(one, other)
    assert 0.3 * found.movement.ceiling < found.movement.median
    assert found.movement.value < 0.3
    assert found.verdict == "undecidable"
    assert found.reasons[0].startswith("slightly changed images have maps as unlike as the limit")
    assert (compare(one, twin).verdict, compare(one, twin).reasons) == ("pass", ())


def lose(made, which):
    """Return rows of which some have nothing that speaks for their class."""
    cold = {"status": Status.NO_EVIDENCE, "raw_max": -1.0, "map": tuple([-1.0] * 49)}
    return [changed(one, **cold) if number in which else one for number, one in enumerate(made)]


def test_more_than_a_tenth_of_lost_evidence_is_an_alarm_even_where_nothing_is_left(store, compare):
    made = rows(maps())
    one = store("losing", made)
    for count in (60, 39, 7, 6):
        other = store(f"losing-{count}", lose(made, range(60 - count, 60)), digest="1")
        found = compare(one, other)
        assert found.verdict == ("pass" if count == 6 else "moved")
        said = f"{count} of 60 pairs lost their evidence, more than 10 %"
        assert (said in found.reasons) == (count > 6)
        assert compare(one, other, limits=Limits(lost=0.05)).verdict == "moved"
    nothing = store("losing-all", lose(made, range(60)), digest="1")
    found = compare(one, nothing, limits=Limits(lost=1))
    said = "only 0 pairs could be compared, 20 are needed; 60 pairs lost their evidence"
    assert (found.verdict, found.reasons) == ("undecidable", (said,))


def test_a_class_that_lost_most_of_its_evidence_is_named(store, compare, tmp_path):
    found = np.concatenate([maps(), maps(1), maps(2), maps(3)])
    made = [row(number, one, 0 if number < 22 else 1) for number, one in enumerate(found)]
    one = store("class-lost", made)
    half = compare(one, store("class-lost-11", lose(made, range(11)), digest="1"))
    assert (half.verdict, half.lost) == ("pass", ())
    most = compare(one, store("class-lost-12", lose(made, range(12)), digest="1"))
    assert [(each.name, each.pairs, each.lost) for each in most.lost] == [("class 0", 22, 12)]
    assert most.reasons == ("class class 0 lost its evidence in 12 of 22 pairs",)
    assert (
        "more than half of the pairs lost their evidence" in (tmp_path / "index.html").read_text()
    )
    all_of_it = store("class-lost-22", lose(made, range(22)), digest="1")
    assert compare(one, all_of_it, limits=Limits(lost=1)).verdict == "pass"


def test_a_suspicious_place_that_is_new_is_an_alarm_with_class_place_and_shares(
    store, compare, tmp_path
):
    rng = np.random.default_rng(4)
    before = [np.maximum(blob(rng, GRID), 0) for _ in range(600)]
    after = noisy(before, 0.05)
    for number in range(1, 600, 10):
        if number % 20 == 1:
            after[number] = np.maximum(blob(rng, GRID, at=(0, 0)), 0)
    made = [[row(n, one, n % 10) for n, one in enumerate(found)] for found in (before, after)]
    one, other = (store(f"place-{n}", own, digest=str(n)) for n, own in enumerate(made))
    found = compare(one, other)
    assert (found.verdict, found.movement.high < 0.1) == ("moved", True)
    said = (
        "a suspicious place is new: 30 of 60 maps of class class 1 peak in row 1, column 1 of 7 x "
        f"7 cells, the first model's {found.places[0].before} times there or beside it"
    )
    assert found.reasons == (said,)
    (place,) = found.places
    assert (place.class_name, place.grid, place.cell) == ("class 1", GRID, (0, 0))
    assert [sample.class_name for sample in place.samples] == ["class 1"] * 6
    page = (tmp_path / "index.html").read_text()
    assert "Suspicious places that are new" in page
    assert "30 of 60 maps (50.0&nbsp;%) peak in row 1, column 1 of 7" in page
    assert compare(one, other, limits=Limits(places=1)).verdict == "pass"
    again = compare(one, other, limits=Limits(known=(place.seen,)))
    assert (again.verdict, again.places[0].known) == ("pass", True)
    assert "It was accepted before." in (tmp_path / "index.html").read_text()
    assert compare(other, one).places == ()
    assert compare(one, one).places == ()


def test_too_few_copies_measure_nothing_and_say_so(store, compare, keep):
    one, other = store("rare", rows(maps())), store("rare2", rows(maps()), digest="1")
    lost = FloorFailure(
        code="image_not_found", copies=76, image_uri="/a.jpg", message="/a.jpg isn't there"
    )
    keep(one, [0.004] * 4, failures=(lost,), again=0.02)
    found = compare(one, other)
    assert (found.calibrated, found.movement.floor) == (False, 0.003)
    uncalibrated, changed_runtime, missing = notes(found)
    assert "only 16 changed copies could be explained, 20 are needed" in uncalibrated
    assert "lie up to 0.0200 bits from those in the results" in changed_runtime
    assert missing == "76 copies are missing: image_not_found, such as /a.jpg isn't there"


@pytest.mark.parametrize(
    "other", [{"job_id": "another"}, {"model_digest": "f" * 64}], ids=["job", "model"]
)
def test_a_floor_of_another_model_is_named(store, compare, keep, other):
    one = store("strange", rows(maps()))
    keep(one, [0.004] * 30, **other)
    with pytest.raises(InvalidRequest, match=r"floor/0.json is of another job or model"):
        compare(one, one)


@pytest.mark.parametrize("text", ["[1e999]", "[-0.1]", "[2]", "[null]", '["x"]', "[NaN]"])
def test_a_floor_that_cant_be_is_named(client, store, compare, keep, text):
    one = store("forged", rows(maps()))
    keep(one, [0.25] * 30)
    key = keys.floor(one.job_id, 0)
    data = client.storage.get(key).data.replace(b"0.25", text.strip("[]").encode(), 1)
    client.storage.put(key, data, "application/json")
    with pytest.raises(InvalidRequest, match=r"floor/0.json"):
        compare(one, one)


def test_the_same_model_again_tells_whether_its_runtime_changed(store, compare):
    one = store("run", rows(maps()))
    alike = compare(one, store("run2", rows(noisy(maps(), 1e-4))))
    assert (alike.canary.same, alike.canary.largest < 1e-3, alike.verdict) == (True, True, "pass")
    assert next(notes(alike)).endswith("it answers as before")
    other = compare(one, store("run3", rows(noisy(maps(), 0.05))))
    assert (other.canary.same, other.canary.largest > 1e-3) == (False, True)
    assert "its runtime has changed" in next(notes(other))
    assert compare(one, one).canary is None
    assert compare(one, store("run4", rows(maps()), digest="1")).canary is None


def test_a_job_in_bf16_beside_one_in_float32_says_so_and_is_no_two_runs_of_one_model(
    store, compare
):
    made = maps()
    plain = store("float32", rows(made))
    half = changed(store("bf16", rows(noisy(made, 0.01))), precision="bf16")
    found = compare(plain, half)
    assert (found.one.precision, found.other.precision) == ("float32", "bf16")
    assert found.canary is None
    assert next(notes(found)).startswith("float32 beside bf16, of the same model: what moves")
    assert not any("beside bf16" in note for note in notes(compare(half, half)))


def test_measuring_noise_doesnt_hide_a_class_that_was_caught(store, compare, keep):
    after = [
        np.roll(one, 1, axis=1) if number % 2 else one
        for number, one in enumerate(noisy(maps(), 0.02))
    ]
    one, other = store("caught", rows(maps())), store("caught2", rows(after), digest="1")
    usual = compare(one, other, limits=Limits(classes=0))
    calm = dict.fromkeys(COPIES, (0.004,) * 200)
    wild = (0.05,) * 140 + (0.6,) * 60  # of small pictures at 90 % of their size
    keep(one, [], distances=calm | {"resize": wild})
    found = compare(one, other, limits=Limits(classes=0))
    for each in (usual, found):
        assert "1 of 2 classes moved more than the others, and none may" in each.reasons
    assert found.movement.value == pytest.approx(usual.movement.value, abs=0.01)
    assert 0.05 <= found.movement.medians < found.classes[0].median < 0.6
    said = next(note for note in notes(found) if note.startswith("noise was measured"))
    assert "a resize to 90 % 0.0500 (95 % below 0.6000)" in said
    keep(one, [], distances=calm | {"resize": wild})
    still = compare(one, store("caught3", rows(noisy(maps(), 0.02)), digest="1"))
    assert (still.verdict, [each.moved for each in still.classes]) == ("pass", [False, False])


def test_a_job_compared_with_itself_says_so_and_shows_no_pair_that_moved(store, compare, tmp_path):
    one = store("itself", rows(maps()))
    found = compare(one, one)
    assert (found.verdict, found.most_moved) == ("pass", ())
    said = "a job is compared with itself, by the same model, which says nothing"
    assert said in notes(found)  # also where few pairs make it undecidable, which is no pass
    page = (tmp_path / "index.html").read_text()
    assert "A job is compared with itself" in page
    assert "pairs that moved most" not in page
    assert "<dt>movement</dt><dd>0.00<small>no more than noise;" in page
    other = compare(one, store("itself2", rows(noisy(maps(), 0.2)), digest="1"))
    assert not any("itself" in note for note in notes(other))
    assert len(other.most_moved) > 0


def test_first_answers_that_werent_asked_for_arent_a_result(store, compare, tmp_path):
    made = [changed(one, target="label:class 0") for one in rows(maps())]
    one = store("unasked", made)
    found = compare(one, store("unasked2", made, digest="1"))
    assert found.flips.answers == 0
    assert list(notes(found))[-1].startswith("first answers weren't asked for")
    page = (tmp_path / "index.html").read_text()
    assert "<small>not asked for</small>" in page


@pytest.mark.parametrize("name", ["flips", "classes"])
def test_a_limit_of_which_nothing_is_known_doesnt_pass(store, compare, name):
    made = [changed(one, target=str(number)) for number, one in enumerate(rows(maps()))]
    made = [changed(one, class_name=f"class {number // 5}") for number, one in enumerate(made)]
    one = store(f"unknown-{name}", made)
    assert compare(one, one).verdict == "pass"
    found = compare(one, one, limits=Limits(**{name: 0.1}))
    assert (found.verdict, f"--limit-{name}" in found.reasons[0]) == ("undecidable", True)


def test_rows_dont_stand_for_images(store, compare):
    made = [row(number, one, 0) for number, one in enumerate(maps())]
    more = [
        changed(one, class_index=at, class_name=f"class {at}", rank=at, target="top:3")
        for one in made[:25]
        for at in range(3)
    ]
    after = [*more, *(row(number) for number in range(25, COUNT))]
    found = compare(store("ranks", [*more, *made[25:]]), store("ranks2", after))
    assert found.counts.compared == 75
    assert (found.verdict, found.reasons) == (
        "undecidable", (f"only 25 of {COUNT} images could be compared",),
    )  # fmt: skip


def test_two_models_of_one_job_may_fail_on_different_images(client, compare):
    before, after = rows(maps()), rows(maps())
    for number in (3, 4):
        before[number] = row(number)
    for number in (4, 5, 6):
        after[number] = row(number)
    both = (MODEL, ModelRef(id="net", version="2", digest="1" * 64))
    made = job(client.storage, "compared-both", [before, after], COUNT, both)
    for models in ((0, 1), (1, 0)):
        counts = compare(made, made, models).counts
        assert (counts.images, counts.failed, counts.compared) == (COUNT, 4, COUNT - 4)
        assert (counts.only_one, counts.only_other, counts.other_class) == (0, 0, 0)


@pytest.fixture(scope="module")
def scaled(client):
    """Write a job of a model with another input than the image; give its record."""
    data = CARD % (b"a" * 64)
    digest = cards.card_digest(data)
    client.storage.put(keys.card(digest), data, "application/toml")

    def write(name, inputs, found):
        made = [row(number, one, 0) for number, one in enumerate(found)]
        made = [changed(one, image_uri="/one.jpg", image_etag="e") for one in made]
        models = (ModelRef(id="scales", version="1", digest=digest),)
        record = job(client.storage, f"compared-{name}", [made], COUNT, models)
        if inputs is not None:
            items = [
                Item(item_id=str(number), image_uri="/one.jpg", inputs=text)
                for number, text in enumerate(inputs)
            ]
            client.storage.put(
                keys.manifest_part(record.job_id, 0), parquet.write_items(items, 1), "x/y"
            )
        return record

    return write


def test_other_inputs_tell_items_of_one_image_apart(scaled, compare):
    texts = [f'{{"scale": {number}}}' for number in range(COUNT)]
    one = scaled("scale", texts, maps())
    other = scaled("scale2", texts[::-1], maps()[::-1])
    found = compare(one, other)
    assert (found.counts.images, found.counts.compared) == (COUNT, COUNT)
    assert found.measures["distance"].high == 0
    with pytest.raises(ObjectDamaged, match=r"part-00000.parquet is gone"):
        compare(one, scaled("scale3", None, maps()))
    with pytest.raises(ObjectDamaged, match="aren't of the items in its manifest"):
        compare(one, scaled("scale4", texts[:5], maps()))


def test_where_the_models_card_is_gone_the_manifest_tells_items_apart(client, scaled, compare):
    texts = [f'{{"scale": {number}}}' for number in range(COUNT)]
    one, other = scaled("gone", texts, maps()), scaled("gone2", texts, maps())
    key = keys.card(one.models[0].digest)
    card = client.storage.get(key).data
    client.storage.delete([key])
    try:
        assert compare(one, other).counts.images == COUNT
    finally:
        client.storage.put(key, card, "application/toml")


def test_items_without_other_inputs_pair_with_those_of_a_model_that_takes_none(
    scaled, store, compare
):
    one = scaled("plain", [None] * COUNT, maps())
    rest = [row(number, one, 0, image_etag="e") for number, one in enumerate(maps())]
    rest = [changed(made, image_uri="/one.jpg") for made in rest]
    found = compare(one, store("plain2", rest))
    assert (found.counts.images, found.counts.only_one) == (1, 0)
    assert found.counts.compared == COUNT


@pytest.mark.parametrize(("groups", "decided"), [(1, False), (19, False), (20, True)])
def test_pairs_of_few_groups_decide_nothing(store, compare, groups, decided):
    def grouped(found):
        return [changed(one, group=f"{at % groups}") for at, one in enumerate(rows(found))]

    name = f"groups-{groups}"
    one, other = store(name, grouped(maps())), store(f"{name}b", grouped(maps()), digest="1")
    found = compare(one, other)
    assert (found.verdict != "undecidable") == decided
    assert any(f"of {groups} images or groups" in one for one in found.reasons) != decided


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (3, 3)])
@pytest.mark.parametrize("group", [None, 5])
def test_movement_lies_within_its_interval_also_where_two_ways_differ(store, compare, shift, group):
    def made(found):
        return [
            changed(one, group=None if group is None else f"{at // group}")
            for at, one in enumerate(rows(found * 2))
        ]

    name = f"within-{shift[0]}-{group}"
    before = [one + (number % 7) * np.eye(7) / 7 for number, one in enumerate(maps())]
    after = [np.roll(one, shift, axis=(0, 1)) for one in before]
    one, other = store(name, made(before)), store(f"{name}b", made(after), digest="1")
    for pair in ((one, other), (other, one)):
        moved = compare(*pair).movement
        assert moved.low <= moved.value <= moved.high


def test_three_answers_to_an_image_are_no_three_images(store, compare):
    def thrice(found):
        return [
            row(number, one, at, rank=at, target="top:3")
            for number, one in enumerate(found)
            for at in range(3)
        ]

    few, more = (thrice(maps()[:count]) for count in (19, 20))
    undecided = compare(store("thrice", few), store("thrice2", few, digest="1"))
    assert undecided.verdict == "undecidable"
    assert undecided.reasons[0].startswith("the pairs are of 19 images or groups")
    assert not undecided.classes  # of 19 images each
    found = compare(store("thrice3", more), store("thrice4", more, digest="1"))
    assert (found.verdict, found.counts.compared, found.movement.grouped) == ("pass", 60, True)
    once = [row(number, one, 0) for number, one in enumerate(noisy(maps()[:20], 0.3))]
    again = thrice(noisy(maps()[:20], 0.3))
    alone = compare(store("thrice5", [one for one in more if not one.rank]), store("thrice6", once))
    both = compare(store("thrice7", more), store("thrice8", again, digest="1"))
    widths = [one.movement.high - one.movement.low for one in (alone, both)]
    assert widths[1] > 0.7 * widths[0]  # not as narrow as of three times as many images


def test_why_most_images_are_not_compared_is_said(store, compare):
    made = [row(number, one, number % 2) for number, one in enumerate(maps())]
    moved = [changed(one, class_index=5, class_name="five") for one in made]
    one, other = store("elsewhere", made), store("elsewhere2", moved, digest="1")
    found = compare(one, other)
    assert found.verdict == "undecidable"
    count = 2 * len(made)
    assert f"not compared: {count} rows of a class that the other side didn't explain" in [
        *notes(found)
    ]
    assert not any(note.startswith("not compared") for note in notes(compare(one, one)))


def test_images_that_were_explained_for_different_classes_are_counted(store, compare):
    made = [row(number, one, 0) for number, one in enumerate(maps())]
    moved = [
        changed(one, class_index=5, class_name="five") if number % 4 == 0 else one
        for number, one in enumerate(made)
    ]
    found = compare(store("partly", made), store("partly2", moved, digest="1"))
    assert found.verdict == "pass"
    said = f"{len(made) // 4} of {len(made)} images were explained for different classes"
    assert [note for note in notes(found) if note.startswith(said)]
    more = [row(number, one, at, rank=at) for number, one in enumerate(maps()) for at in range(2)]
    fewer = [one for one in more if one.rank == 0]  # one class in common
    twice = compare(store("partly3", more), store("partly4", fewer, digest="1"))
    assert not any("different classes" in note for note in notes(twice))
