"""What comes after a job, done as a person does it: gallery, image, report, comparison, reviews."""

import re
import time

import numpy as np
import pytest
from msgspec.structs import replace as changed

from browser.conftest import AXE, GEOMETRY
from browser.test_looks import RUN, SERIOUS
from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.records import ModelRef
from camfleet.contract.reviews import Moved, ReviewVerdict, StartedRun
from camfleet.jobstore import keys
from camfleet.reviews.store import ReviewStore
from helpers import reviews, rows

pytestmark = pytest.mark.browser

MANY, CHUNK = 24_000, 1000
NAME = "a name of many characters " * 8
ODD = ("<img src=x onerror=alert(1)>", "שלום עולם", "🌹" * 40, NAME, "x" * 200)


@pytest.fixture(scope="session")
def many(enter, uris):
    """Give a job of 24,000 images of 12 classes, every 40th of which failed."""
    rng = np.random.default_rng(0)
    maps = [rows.blob(rng, (4, 6)) for _ in range(50)]
    parts = []
    for first in range(0, MANY, CHUNK):
        part = []
        for n in range(first, first + CHUNK):
            item = ODD[n] if n < len(ODD) else f"image {n:05d}"
            if n % 40 == 39:
                part.append(rows.row(item))
                continue
            part.append(
                rows.row(
                    item, maps[n % 50], n % 12, image_uri=uris[n % len(uris)], image_etag=None,
                    probability=((n * 7919) % MANY) / MANY, geometry=GEOMETRY,
                    label=f"class {n % 6}",
                )
            )  # fmt: skip
        parts.append(part)
    return enter("browser-many", parts, CHUNK)


def count(page):
    """Return how many rows the gallery says there are."""
    return page.locator(".head > p").inner_text()


def tile(page, index):
    return page.locator(f".tile a[data-index='{index}']")


def names(page):
    return page.locator(".tile .tile-caption > .dim").all_inner_texts()


def open_gallery(window, job, query=""):
    window.open(f"#/jobs/{job}/gallery{query}")
    page = window.page
    page.get_by_text(re.compile(r"^[\d,]+ (of [\d,]+ )?rows$")).wait_for(timeout=60_000)
    return page


def test_a_gallery_is_filtered_and_sorted_and_its_address_shared(window, many):
    page = open_gallery(window, many)
    assert count(page) == "24,000 rows"
    page.get_by_role("checkbox", name=re.compile(r"^class 3 ")).first.check()
    page.get_by_text("1,800 of 24,000 rows").wait_for()
    page.get_by_label("Order", exact=True).select_option("-probability")
    page.wait_for_url("**sort=-probability*")
    window.wait(lambda: "class 3" in tile(page, 0).inner_text())
    told = [
        float(text)
        for text in re.findall(r"([\d.]+) %", " ".join(page.locator(".tile b").all_inner_texts()))
    ]
    assert told == sorted(told, reverse=True)
    page.reload()
    page.get_by_text("1,800 of 24,000 rows").wait_for()
    page.get_by_role("button", name="Clear all filters").click()
    page.get_by_text("24,000 rows", exact=True).wait_for()
    page.get_by_label("Least probability").fill("0.75")
    window.wait(lambda: " of 24,000" in count(page))
    assert 5_500 < int(count(page).split()[0].replace(",", "")) < 6_100


def test_failures_of_a_code_are_found_and_told(window, many):
    page = open_gallery(window, many, "?status=failed&code=image_not_found")
    assert count(page) == "600 of 24,000 rows"
    assert "image_not_found" in tile(page, 0).inner_text()
    tile(page, 0).click()
    page.get_by_text("gone").first.wait_for()


def test_a_gallery_is_gone_through_by_the_keyboard_and_left_and_found_again(window, many):
    page = open_gallery(window, many)
    page.get_by_label("Jump to image number").fill("12345")
    page.keyboard.press("Enter")
    window.wait(lambda: page.evaluate("document.activeElement.dataset.index") == "12344")
    window.wait(lambda: "image 12344" in tile(page, 12344).inner_text())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("""() => {
      const tops = [...document.querySelectorAll(".tile")].map((one) => one.style.top);
      return tops.filter((top) => top === tops[0]).length;
    }""")
    at = 12345 + columns
    window.wait(lambda: page.evaluate("document.activeElement.dataset.index") == str(at))
    page.keyboard.press("2")
    assert page.get_by_label("Opacity of the heat").input_value() == "0.2"
    assert page.locator(".tile").count() < 200
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"image {at:05d}").wait_for()
    page.keyboard.press("n")
    page.get_by_role("heading", name=f"image {at + 1:05d}").wait_for()
    page.keyboard.press("p")
    page.get_by_role("heading", name=f"image {at:05d}").wait_for()
    page.keyboard.press("Escape")
    tile(page, at).wait_for()
    tile(page, at).press("End")
    window.wait(lambda: page.evaluate("document.activeElement.dataset.index") == str(MANY - 1))


def test_a_gallery_taller_than_a_browser_allows_scrolls_line_by_line(opened, token, model, many):
    """At 380 pixels its 12,000 lines are 2.6 million pixels tall."""
    window = opened(viewport={"width": 380, "height": 800})
    window.sign_in(token)
    page = open_gallery(window, many, "?at=20000&size=large")
    page.wait_for_load_state("networkidle")
    window.wait(lambda: "image 20000" in names(page))
    height = page.locator(".tile-scroll").evaluate("(one) => one.scrollHeight")
    assert height <= 2_000_000
    scroller = page.locator(".tile-scroll")
    tall = page.locator(".tile").first.evaluate("(one) => one.offsetHeight") + 8
    scroller.hover()
    before = scroller.evaluate("(one) => one.scrollTop")
    page.mouse.wheel(0, tall * 3)
    window.wait(lambda: scroller.evaluate("(one) => one.scrollTop") >= before + tall * 3 - 2)
    page.wait_for_timeout(300)
    window.wait(lambda: "at=20006" in page.url or "at=20007" in page.url)
    page.get_by_label("Position", exact=True).fill("23999")
    window.wait(lambda: "image 23998" in names(page))
    page.get_by_label("Position", exact=True).fill("0")
    window.wait(lambda: ODD[1] in names(page))


def test_tiles_have_photographs_with_heat_and_names_are_text(window, many):
    page = open_gallery(window, many)
    window.wait(lambda: page.locator(".tile img").count() > 5)
    window.wait(
        lambda: page.evaluate("""() => [...document.querySelectorAll(".tile img")]
          .every((one) => one.complete && one.naturalWidth)""")
    )
    filled = page.locator(".tile canvas").first.evaluate(
        """(one) => one.getContext("2d").getImageData(0, 0, one.width, one.height)
          .data.filter((value) => value).length"""
    )
    assert filled > 1000
    assert names(page)[0] == ODD[0].rpartition("/")[2]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_running_job_shows_what_is_there_so_far(window, storage, client, enter):
    parts = [[rows.row(n, np.ones((2, 2)))] if n < 3 else None for n in range(5)]
    record = changed(rows.job(storage, "browser-runs", parts, 1), owner="ann")
    storage.put(keys.job("browser-runs"), encode_json(sealed(record, 2)), "application/json")
    ledger = client._ledger
    ledger.open(record)
    ledger.begin(record.job_id)
    window.allowed.append("status of (404|422|503)")  # its photographs aren't there
    window.open("#/jobs/browser-runs/gallery")
    page = window.page
    page.get_by_text("3 rows so far").wait_for()
    page.get_by_text("Filters come with the index").wait_for()
    assert names(page) == ["0", "1", "2"]
    ledger.cancel(record.job_id)
    page.get_by_text("3 rows", exact=True).wait_for(timeout=60_000)


def test_an_image_shows_all_its_classes_and_the_values_under_the_pointer(
    window, client, model, uris, storage
):
    job = client.submit(uris[:3], models=model, target="top:2", pictures=[], job_id="browser-image")
    job.wait(timeout=180)
    record = sealed(changed(job.record(), owner="ann"), 2)
    storage.put(keys.job(job.id), encode_json(record), "application/json")
    window.open(f"#/jobs/{job.id}/images/0:2")
    page = window.page
    beside = page.locator(".beside button")
    beside.nth(1).wait_for()
    assert beside.count() == 2
    page.locator(".photo").hover(position={"x": 5, "y": 5})
    assert re.match(r"Row 1 of \d+, column 1 of", page.locator(".probe").inner_text())
    beside.nth(1).click()
    page.get_by_text("Nothing in the image speaks for this class").wait_for()
    page.get_by_text("The raw map").click()
    assert page.locator(".raw td").count() == 32 * 48
    facts = page.locator(".facts").inner_text()
    assert record.models[0].digest[:16] in facts
    assert "gradcam" in facts
    page.keyboard.press("n")
    page.wait_for_url("**/images/1%3A0*")


@pytest.fixture(scope="session")
def suspicious(enter, uris):
    """Give a job in which one class often looks into a corner."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(400):
        heat = rows.blob(rng, (7, 7), (6.0, 6.0) if n % 4 == 0 else None)
        found.append(
            rows.row(n, heat, n % 2, image_uri=uris[n % 9], image_etag=None, geometry=GEOMETRY)
        )
    return enter("browser-suspicious", [found[:200], found[200:]], 200)


def test_a_report_is_made_and_its_findings_are_confirmed_and_dismissed(window, suspicious, tokens):
    page = window.page
    window.open(f"#/jobs/{suspicious}/report")
    page.get_by_role("button", name="Make the report").click()
    frame = page.frame_locator("iframe.report-frame")
    frame.get_by_role("heading", name=f"Report on job {suspicious}").wait_for(timeout=90_000)
    finding = page.locator(".finding").first
    assert "class 0" in finding.inner_text()
    finding.get_by_label("Why").fill("a yellow <b>tag</b>")
    finding.get_by_role("button", name="Confirm").click()
    page.locator(".finding .tag", has_text="Confirmed").wait_for()
    page.reload()
    page.get_by_text("Confirmed by").wait_for()
    assert "ann" in finding.inner_text()
    assert "a yellow <b>tag</b>" in finding.inner_text()
    finding.get_by_role("button", name="Dismiss").click()
    page.locator(".finding .tag", has_text="Dismissed").wait_for()
    finding.get_by_role("button", name="Take back").click()
    page.locator(".finding .tag", has_text="Open").wait_for()
    finding.locator(".samples a").first.click()
    page.wait_for_url("**/images/*")


def test_two_models_are_compared_and_swiped(window, enter, uris):
    rng = np.random.default_rng(3)
    maps = [np.maximum(rows.blob(rng, (7, 7)), 0) for _ in range(60)]
    other = ModelRef(id="other", version="2", digest="2" * 64)
    whose = {"model_id": other.id, "model_version": other.version, "model_digest": other.digest}
    same = {"image_etag": None, "geometry": GEOMETRY}
    parts = [
        [rows.row(n, m, n % 2, image_uri=f"{uris[n % 9]}?{n}", **same) for n, m in enumerate(maps)],
        [
            rows.row(
                n,
                np.roll(m, (3, 3), (0, 1)),
                n % 2,
                image_uri=f"{uris[n % 9]}?{n}",
                **same,
                **whose,
            )
            for n, m in enumerate(maps)
        ],
    ]
    job = enter("browser-compared", parts, 60, (rows.MODEL, other))
    window.allowed.append("status of (404|422|503)")  # photographs that aren't there
    window.open(f"#/compare/{job}/{job}")
    page = window.page
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator(".verdict", has_text="moved").wait_for(timeout=90_000)
    page.get_by_text("60", exact=True).first.wait_for()
    assert page.get_by_role("img", name=re.compile("^Movement")).is_visible()
    slider = page.get_by_role("slider").first
    slider.fill("25")
    stage = page.locator(".swipe").first
    assert stage.evaluate("(one) => one.style.getPropertyValue('--at')") == "25%"
    box = stage.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    window.wait(lambda: slider.input_value() in ("74", "75", "76"))
    page.reload()
    page.locator(".verdict", has_text="moved").wait_for()


@pytest.fixture(scope="session")
def review(storage):
    """Make a review with two verdicts, as the bucket has them, of a model that comes last."""
    one, two, three = (reviews.version(storage, "zz-reviewed", n) for n in (1, 2, 3))
    made = reviews.review(storage, "browser-weekly", one, reviews.maps())
    store = ReviewStore(storage)
    for number, (ref, word, value) in enumerate(((two, "pass", 0.12), (three, "moved", 0.61))):
        run = f"{number:016x}"
        verdict = ReviewVerdict(
            schema_version=2, name=made.name, run=run, job_id="none", model=ref,
            baseline=made.baseline.model, first=made.first.model, set_digest=made.set.digest,
            method=made.method, layer=made.layer, decided_at=time.time() - 9000 + number * 3600,
            verdict=word, reasons=(f"maps moved by {value}",), limit=0.3, calibrated=True,
            images=240, changed=0, missing=0, failed=0,
            movement=Moved(value=value, low=value - 0.05, high=value + 0.05), drift=None,
            page=None, first_page=None, report="s3://none",
        )  # fmt: skip
        store.write_verdict(verdict)
        started = StartedRun(run=run, job_id="none", model=ref)
        store.note(made, run=started)
    return made


def test_reviews_show_their_course_and_are_paused_with_a_reason(opened, tokens, model, review):
    window = opened()
    window.sign_in(tokens.create("root", ("admin",), 1)[0], "#/reviews")
    page = window.page
    card = page.locator(".cards .panel", has_text=review.name)
    card.wait_for()
    assert "moved" in card.inner_text()
    assert "zz-reviewed@3 moved by 0.61" in card.locator("svg").get_attribute("aria-label")
    card.get_by_role("link", name=review.name).click()
    page.get_by_role("heading", name=f"Review {review.name}").wait_for()
    assert page.locator(".timeline li").count() == 3
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Reason").fill("the camera is <b>replaced</b>")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    page.get_by_text("the camera is <b>replaced</b>").wait_for()
    assert page.locator(".timeline li").first.inner_text().count("root paused it") == 1
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Pause").wait_for()


def test_reviews_are_admins(window, model):
    window.allowed.append("status of 403")
    window.open("#/reviews")
    window.page.get_by_text("Your token doesn't open this").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280, 2560])
def test_none_of_it_runs_over_its_window_and_axe_finds_nothing_serious(
    opened, tokens, model, many, suspicious, review, width, scheme
):
    window = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = window.page
    window.sign_in(tokens.create("root", ("admin",), 1)[0])
    for address in (
        f"#/jobs/{many}/gallery",
        f"#/jobs/{many}/gallery?class=nothing",
        f"#/jobs/{many}/images/0:0",
        f"#/jobs/{many}/images/0:39",
        f"#/jobs/{suspicious}/report",
        f"#/compare/{suspicious}/{suspicious}",
        "#/reviews",
        f"#/reviews/{review.name}",
    ):
        window.open(address)
        page.locator(".view h1, .view .state").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        page.evaluate(AXE.read_text())
        found = [one for one in page.evaluate(RUN) if one[1] in SERIOUS]
        assert found == [], address
