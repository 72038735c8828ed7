"""Archives on the page: ordered, followed, fetched and deleted; precision, and what is refused."""

import re
import zipfile

import numpy as np
import pytest
from msgspec.structs import replace as changed

from browser.conftest import AXE
from browser.test_looks import RUN, SERIOUS
from camfleet.contract.codec import encode_json, sealed
from camfleet.jobstore import keys
from helpers import rows
from helpers.refused_bf16 import REFUSED, refuse_bf16
from helpers.samples import write_card

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def job(client, storage, model, uris):
    """Run a job with overlays and heatmaps that is ann's."""
    made = client.submit(
        uris[:3], models=model, target="top:2", pictures=["overlay", "heatmap"],
        job_id="browser-exports",
    )  # fmt: skip
    made.wait(timeout=180)
    record = sealed(changed(made.record(), owner="ann"), 2)
    storage.put(keys.job(made.id), encode_json(record), "application/json")
    return made.id


def ready(page):
    page.locator(".exports > li", has_text="Ready").first.wait_for(timeout=60_000)


def test_pictures_come_as_an_archive_that_is_fetched_and_deleted(window, job):
    page = window.page
    window.open(f"#/jobs/{job}")
    page.get_by_role("link", name="Exports").click()
    page.get_by_role("heading", name=f"Exports of {job}").wait_for()
    page.get_by_text("None yet").wait_for()
    page.get_by_label("Each image's first class only").check()
    page.get_by_role("button", name="Make it").click()
    ready(page)
    assert "3 pictures" in page.locator(".exports").inner_text()
    page.evaluate(AXE.read_text())
    assert [one for one in page.evaluate(RUN) if one[1] in SERIOUS] == []
    with page.expect_download() as loading:
        page.get_by_role("link", name=re.compile("Download")).click()
    assert loading.value.suggested_filename == f"{job}-pictures.zip"
    with zipfile.ZipFile(loading.value.path()) as archive:
        assert len(archive.namelist()) == 3
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("None yet").wait_for()


def test_what_the_job_or_the_format_has_not_is_told_at_once(window, job):
    page = window.page
    window.allowed.append("status of 422")
    window.open(f"#/jobs/{job}/exports")
    page.get_by_label("Format").select_option("label-studio")
    page.get_by_label(re.compile("Label config")).fill("no config")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("alert").get_by_text("not XML").wait_for()
    assert page.get_by_label(re.compile("Label config")).input_value() == "no config"
    page.get_by_label("Format").select_option("pictures")
    page.get_by_label("overlay").uncheck()
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("alert").get_by_text("say which").wait_for()


def test_the_filters_of_a_gallery_are_those_of_an_archive(window, enter):
    heat = np.ones((2, 2))
    part = [rows.row(n, heat, n % 2, label="a") for n in range(6)]
    of = enter("browser-exported", [part], 6)
    page = window.page
    window.allowed.append("status of (404|422|503)")  # photographs that aren't there
    filters = "class=class+1&label=a&min_probability=0.5&max_border_share=0.5"
    window.open(f"#/jobs/{of}/gallery?{filters}")
    page.get_by_role("link", name="Export these").click()
    page.get_by_text("Of the rows with").wait_for()
    told = page.locator("form").inner_text()
    assert "class class 1" in told
    assert "min probability 0.5" in told
    assert "label a" in told
    assert "no filter by max border share" in told
    with page.expect_request(lambda asked: asked.method == "POST") as asked:
        page.get_by_role("button", name="Make it").click()
    assert asked.value.post_data_json["where"] == {"label": ["a"]}
    page.locator(".exports > li").first.wait_for()


def test_who_may_only_read_sees_archives_and_orders_none(opened, tokens, job, model):
    window = opened()
    window.sign_in(tokens.create("ann", ("jobs:read",), 1)[0], f"#/jobs/{job}/exports")
    window.page.get_by_text("None yet").wait_for()
    assert window.page.get_by_role("button", name="Make it").count() == 0


def test_a_model_that_is_not_computed_in_a_precision_says_why(window, client, storage, folder):
    exact, _ = client.models.add(write_card(folder / "exact", "browser-exact"), timeout=120)
    refuse_bf16(storage, exact)
    page = window.page
    window.allowed.append("status of 422")
    window.open("#/models/browser-exact@1")
    page.get_by_text(REFUSED).wait_for()
    window.open("#/submit?model=browser-exact&source=s3://nothing/here/")
    page.get_by_label("Precision").select_option("bf16")
    page.locator(".note.bad", has_text=REFUSED).wait_for()
    page.get_by_label("Precision").select_option("float32")
    page.locator(".note.bad").wait_for(state="detached")
    page.get_by_label("Precision").select_option("bf16")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("alert").locator(".note.bad").wait_for()
