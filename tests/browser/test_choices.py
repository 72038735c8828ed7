"""What a person chooses: images of a gallery, layers and further inputs of a model."""

import csv
import json
import re

import keras
import pytest
from keras import layers
from msgspec.structs import replace as changed

from camfleet import Item
from camfleet.contract.codec import encode_json, sealed
from camfleet.jobstore import keys
from helpers.reviews import version
from helpers.samples import write_card

pytestmark = pytest.mark.browser

AGE = "\n[inputs.age]\ndefault = [30.0]\n"


@pytest.fixture(scope="module")
def shown(client, model, photos):
    """Run a job of ann's whose items have labels."""
    images = [
        {"image_uri": client.storage.put(f"choices/{path.name}", path.read_bytes(), "image/png")}
        for path in photos[:6]
    ]
    for n, one in enumerate(images):
        one |= {"item_id": f"chosen, {n}", "label": "dark" if n % 2 else "bright"}
    job = client.submit([Item(**one) for one in images], models=model, pictures=[], target="top:2")
    job.wait(timeout=180)
    record = sealed(changed(job.record(), owner="ann"), 2)
    client.storage.put(keys.job(job.id), encode_json(record), "application/json")
    return job.id


@pytest.fixture
def gallery(window, shown):
    window.open(f"#/jobs/{shown}/gallery?rank=0")
    window.page.get_by_text("6 of 12 rows").wait_for(timeout=60_000)
    return window.page


def box(page, number):
    return page.get_by_role("checkbox", name=f"Choose image {number}", exact=True)


def test_chosen_images_become_a_new_job_with_their_names_and_labels(window, gallery, web, model):
    page = gallery
    box(page, 2).check()
    box(page, 4).click(modifiers=["Shift"])
    page.get_by_text("3 chosen").wait_for()
    page.locator(".tile a[data-index='2']").press("x")
    page.get_by_text("2 chosen").wait_for()
    page.get_by_role("link", name="New job of them").click()
    page.get_by_text("2 of job").wait_for()
    page.reload()
    page.get_by_text("2 of job").wait_for()
    for one in page.get_by_role("checkbox", name=re.compile("@")).all():
        one.set_checked(False)
    page.get_by_role("checkbox", name=f"{model.id}@{model.version}").check()
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/#/jobs/http-*")
    page.locator(".job-state", has_text="complete").wait_for(timeout=60_000)
    job = page.url.rpartition("/")[2]
    text = web.ask("GET", f"/v1/jobs/{job}/results").body.decode()
    made = [json.loads(line) for line in text.splitlines()]
    told = sorted((row["item_id"], row["label"]) for row in made)
    assert told == [("chosen, 1", "dark"), ("chosen, 3", "dark")]


@pytest.mark.parametrize("kind", ["CSV", "JSON lines"])
def test_all_rows_of_chosen_images_come_as_a_file(gallery, kind):
    page = gallery
    box(page, 1).check()
    box(page, 6).check()
    with page.expect_download() as loading:
        page.get_by_role("button", name=f"Rows as {kind}").click()
    text = loading.value.path().read_text()
    lines = text.splitlines()
    rows = list(csv.DictReader(lines)) if kind == "CSV" else [json.loads(line) for line in lines]
    found = sorted((row["item_id"], int(row["rank"])) for row in rows)
    assert found == [("chosen, 0", 0), ("chosen, 0", 1), ("chosen, 5", 0), ("chosen, 5", 1)]
    page.get_by_role("button", name="Choose none").click()
    assert not box(page, 1).is_checked()


def test_many_chosen_images_come_in_several_pieces_with_one_head(gallery):
    """Addresses are kept short: proxies take no longer ones."""
    text = gallery.evaluate(
        """async () => {
          const { Chosen } = await import(new URL("page/gallery/chosen.js", document.baseURI).href);
          const job = /jobs.([^/]+)/.exec(location.hash)[1];
          const chosen = new Chosen(job, { may: () => false });
          const item = (n) => (n < 6 ? `chosen, ${n}` : "x".repeat(2000) + n);
          const all = Array.from({ length: 12 }, (_, n) => ({ row: `0:${n}`, item_id: item(n) }));
          chosen.set(all, true);
          const real = URL.createObjectURL;
          const blob = new Promise((done) => {
            URL.createObjectURL = (one) => {
              if (one.type) return real.call(URL, one); // a photograph of the gallery
              done(one);
              return "#";
            };
          });
          chosen.element.querySelector("button").click();
          return (await blob).text();
        }"""
    )
    rows = list(csv.DictReader(text.splitlines()))
    assert sorted({row["item_id"] for row in rows}) == [f"chosen, {n}" for n in range(6)]
    assert len(rows) == 12


@pytest.fixture(scope="module")
def aged(client, folder):
    """Register a model of two layers that takes an age besides the image."""
    image, age = keras.Input((32, 48, 3), name="photo"), keras.Input((1,), name="age")
    fine = layers.Conv2D(2, 3, padding="same", activation="relu", name="fine")(image)
    pooled = layers.MaxPooling2D(name="halved")(fine)
    coarse = layers.Conv2D(2, 3, padding="same", activation="relu", name="coarse")(pooled)
    joined = layers.Concatenate(name="joined")([layers.GlobalAveragePooling2D()(coarse), age])
    made = keras.Model([image, age], layers.Dense(2, "softmax", name="scores")(joined))
    dense = made.get_layer("scores")
    kernel, bias = dense.get_weights()
    kernel[-1] = 0.05, -0.05
    dense.set_weights([kernel, bias])
    path = write_card(folder / "aged", "aged", model=made, image_input='"photo"')
    path.write_text(path.read_text() + AGE)
    ref, _ = client.models.add(path, timeout=240)
    return ref


def test_a_layer_and_further_inputs_are_chosen_and_stand_in_the_address(
    window, aged, photos, run_copied
):
    page = window.page
    window.open(f"#/explain?model={aged.id}")
    page.set_input_files("input[type=file]", str(photos[0]))
    facts = page.locator(".tell .facts")
    facts.get_by_text("coarse").wait_for()
    before = page.locator(".class-bar b").all_inner_texts()
    page.get_by_label("Layer").select_option("fine")
    facts.get_by_text("fine").wait_for()
    assert re.search(r"32 . 48", facts.inner_text())
    page.get_by_label("Input age").fill("60")
    page.keyboard.press("Enter")
    window.wait(lambda: page.locator(".class-bar b").all_inner_texts() != before)
    after = page.locator(".class-bar b").all_inner_texts()
    assert "layer=fine" in page.url
    page.get_by_text("The same by program").click()
    (row, *_) = run_copied(page.locator("pre.example").inner_text())["results"]
    assert row["layer"] == "fine"
    assert f"{row['probability'] * 100:.1f} %" == after[0]
    page.get_by_label("Language").select_option("camfleet explain")
    assert page.locator("pre.example").inner_text().endswith("--layer fine --input age=60")
    page.reload()
    facts.get_by_text("fine").wait_for()
    assert page.locator(".class-bar b").all_inner_texts() == after
    page.get_by_label("Input age").fill("many")
    page.keyboard.press("Tab")
    assert not page.get_by_label("Input age").evaluate("(one) => one.checkValidity()")


def test_another_model_has_its_own_layers_and_inputs(window, aged, model, photos):
    page = window.page
    window.open(f"#/explain?model={aged.id}&layer=fine")
    page.get_by_label("Input age").wait_for()
    assert page.get_by_label("Layer").input_value() == "fine"
    page.get_by_label("Model").select_option(model.id)
    window.wait(lambda: page.get_by_label("Input age").count() == 0)
    assert "layer=" not in page.url
    page.set_input_files("input[type=file]", str(photos[0]))
    page.locator(".tell .facts").get_by_text("conv").wait_for()


def test_a_version_without_a_card_is_not_offered(window, client, model):
    version(client.storage, "a-lost-one", 1)
    window.open("#/models")
    window.page.get_by_text("a-lost-one").first.wait_for()
    window.open("#/explain")
    chosen = window.page.get_by_label("Model")
    chosen.wait_for()
    assert "a-lost-one" not in chosen.inner_text()


def test_a_view_is_loaded_once_it_is_opened(opened, token, model):
    window = opened()
    loaded = []
    window.page.on("request", lambda asked: loaded.append(asked.url.rpartition("/page/")[2]))
    window.sign_in(token, "#/workers")
    window.page.get_by_role("heading", name="Workers").wait_for()
    views = {one for one in loaded if one.startswith(("views/", "gallery/", "explain/"))}
    assert views == {"views/sign_in.js", "views/workers.js"}
