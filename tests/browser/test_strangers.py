"""What others wrote, and what is too much: names, addresses, findings, labels."""

import json
import re

import keras
import numpy as np
import pytest
from keras import layers

from browser.conftest import GEOMETRY
from helpers import rows
from helpers.samples import write_card

pytestmark = pytest.mark.browser

LONG = "x" * 10_000
# Signs that don't show, or have others written backwards, and how they are shown.
NAMES = {
    "\u202egnp.exe": r"\u202egnp.exe",
    "a\u200bb\u0007": r"a\u200bb\u0007",
    "👩\u200d💻 ❤\ufe0f": "👩\u200d💻 ❤\ufe0f",
    LONG: LONG,
    "<script>document.title = 1</script>": "<script>document.title = 1</script>",
    "javascript:document.title=1": "javascript:document.title=1",
}
CLASSES, EACH = 24, 24  # a class for each cell of the grid
LABELS = [*NAMES, *(f"class number {n} of very many words " * 9 for n in range(500))]


@pytest.fixture(scope="module")
def strange(enter, uris):
    """Give a job whose images and classes have strange names."""
    heat = np.eye(4)
    made = [
        rows.row(
            item, heat, n, class_name=item, label=item, image_uri=uris[n], image_etag=None,
            geometry=GEOMETRY,
        )
        for n, item in enumerate(NAMES)
    ]  # fmt: skip
    return enter("browser-strange", [made], len(made))


def shown(element):
    return element.inner_text().strip()


def test_every_sign_of_a_name_shows_and_a_long_one_is_cut(window, strange):
    page = window.page
    window.open(f"#/jobs/{strange}/gallery")
    page.get_by_text(f"{len(NAMES)} rows", exact=True).wait_for(timeout=60_000)
    captions = page.locator(".tile-caption .cut-off").all_inner_texts()
    assert captions[::2] == list(NAMES.values())  # the classes
    for n, name in enumerate(NAMES.values()):
        window.open(f"#/jobs/{strange}/images/0:{n}")
        heading = page.get_by_role("heading", level=1)
        window.wait(lambda: shown(heading)[:20] == name[:20])  # noqa: B023  # at once
        assert shown(heading) == name if name != LONG else len(shown(heading)) < 300
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.title() != "1"


@pytest.fixture(scope="module")
def many_findings(enter, uris):
    """Give a job of many classes, each of which always looks at the same place."""
    rng = np.random.default_rng(0)
    maps = [rows.blob(rng, (4, 6), divmod(n, 6)) for n in range(CLASSES)]
    same = {"image_etag": None, "geometry": GEOMETRY}
    made = [
        rows.row(n, maps[n % CLASSES], n % CLASSES, image_uri=uris[n % 9], **same)
        for n in range(CLASSES * EACH)
    ]
    return enter("browser-findings", [made], len(made))


def test_of_many_findings_some_are_shown_and_more_by_hand(window, many_findings):
    """Each has eight photographs: of all classes at once they'd keep a browser busy for minutes."""
    page = window.page
    window.open(f"#/jobs/{many_findings}/report")
    page.get_by_role("button", name="Make the report").click()
    findings = page.locator(".finding")
    findings.first.wait_for(timeout=90_000)
    assert findings.count() == 10
    more = page.get_by_role("button", name=f"Show more of {CLASSES}", exact=True)
    more.press("Enter")
    assert findings.count() == 20
    assert findings.nth(10).evaluate("(one) => one.contains(document.activeElement)")
    findings.nth(3).get_by_label("Why").fill("half a sente")
    findings.nth(12).get_by_role("button", name="Confirm").press("Enter")
    findings.nth(12).get_by_text("Confirmed", exact=True).wait_for()
    assert findings.nth(12).evaluate("(one) => one.contains(document.activeElement)")
    assert findings.nth(3).get_by_label("Why").input_value() == "half a sente"
    more.click()
    assert findings.count() == CLASSES
    assert not more.is_visible()
    page.get_by_role("button", name="Compare …").click()
    page.get_by_role("dialog").get_by_label("Earlier job").fill("browser-strange")
    page.get_by_role("dialog").get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url(f"**/#/compare/browser-strange/{many_findings}")


@pytest.mark.parametrize("word", ["..", "%2e%2e", ".", "%2E"])
@pytest.mark.parametrize("address", ["#/jobs/{}", "#/jobs/{}/report", "#/models/{}"])
def test_dots_in_an_address_lead_to_no_other_request(window, model, word, address):
    """A browser takes them out of a path, so that v1/jobs/../report were v1/report."""
    asked = []
    window.page.on("request", lambda request: asked.append(request.url))
    window.open(address.format(word))
    window.page.get_by_text("There is no such thing").wait_for()
    assert [url for url in asked if "/v1/" in url and not url.endswith("/v1/models")] == []


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("gallery?size=huge&opacity=x&colormap=__proto__&at=-4", ".tile canvas"),
        ("gallery?size=constructor&colormap=constructor&rank=0&at=1e99", ".tile canvas"),
        ("gallery?at=x", ".tile canvas"),
        ("images/0:0?n=x&opacity=x&colormap=toString", ".photo canvas"),
    ],
)
def test_settings_in_an_address_that_are_none_are_the_usual_ones(window, strange, query, seen):
    window.open(f"#/jobs/{strange}/{query}")
    window.page.locator(seen).first.wait_for()
    box = window.page.locator(seen).first.bounding_box()
    assert box["width"] > 50


@pytest.mark.parametrize("inputs", ["null", "5", "[1]", "{", '"a"'])
def test_inputs_in_an_address_that_are_none_are_no_fault_of_the_page(window, model, inputs):
    window.open(f"#/explain?model={model.id}&inputs={inputs}")
    window.page.get_by_label("Layer").wait_for()


@pytest.fixture(scope="module")
def wide(client, folder):
    """Register a model of many classes with strange and long labels."""
    image = keras.Input((32, 48, 3))
    conv = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(image)
    dense = layers.Dense(len(LABELS), "softmax")(layers.GlobalAveragePooling2D()(conv))
    made = keras.Model(image, dense)
    path = write_card(
        folder / "wide", "wide", model=made, labels=json.dumps(LABELS, ensure_ascii=False)
    )
    ref, _ = client.models.add(path, timeout=240)
    return ref


@pytest.mark.parametrize("width", [380, 1280])
def test_a_model_of_many_labels_has_them_in_columns_and_its_layers_below_their_heads(
    opened, token, wide, width
):
    window = opened(viewport={"width": width, "height": 900})
    window.sign_in(token, f"#/models/{wide.id}@1")
    page = window.page
    labels = page.get_by_role("group", name="Labels")
    labels.wait_for()
    assert labels.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    assert labels.locator("li").first.inner_text() == r"0 \u202egnp.exe"
    assert max(one.bounding_box()["height"] for one in labels.locator("li").all()[:40]) < 70
    heads = page.get_by_role("group", name="Layers").locator("th").all()
    cells = page.get_by_role("group", name="Layers").locator(".chosen td").all()
    assert [one.bounding_box()["x"] for one in heads] == [one.bounding_box()["x"] for one in cells]


def test_older_jobs_that_dont_come_are_told(window, strange):
    """The gateway takes no cursor that it hasn't given."""
    page = window.page

    def with_more(route):
        # What fetches for Playwright says nothing of its site, as a stranger's page might.
        answer = route.fetch(headers={**route.request.headers, "sec-fetch-site": "same-origin"})
        route.fulfill(response=answer, json={**answer.json(), "next": "none"})

    page.route(re.compile(r"/v1/jobs\?limit=100$"), with_more)
    window.allowed.append("status of 422")
    window.open("#/jobs")
    page.get_by_role("button", name="Show older jobs").click()
    page.get_by_text("Not up to date: cursor").wait_for()


def test_who_cant_be_signed_out_is_told(window):
    page = window.page
    window.allowed.append("ERR_FAILED")
    page.route("**/v1/session", lambda route: route.abort())
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("No connection").wait_for()
    page.unroute("**/v1/session")
    page.get_by_role("button", name="Try again").click()
    page.get_by_label("Token").wait_for()
