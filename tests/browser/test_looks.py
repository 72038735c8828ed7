"""Every view in every width, in light and dark: nothing runs over, axe finds nothing serious."""

import pytest

from browser.conftest import AXE
from camfleet import Item

pytestmark = pytest.mark.browser

WIDTHS = (380, 1280, 2560)
SERIOUS = ("serious", "critical")
RUN = """() => axe.run(document, {resultTypes: ["violations"]}).then(({violations}) =>
  violations.map((one) => [one.id, one.impact, one.nodes.map(({html}) => html.slice(0, 200))]))"""


@pytest.fixture(scope="session")
def job(client, model, odd_model, photos):
    """Run a job with two models, images that fail, and names that are odd."""
    names = ("🌹" * 30, "<b>bold</b>", "שלום", "x" * 200)
    images = zip((*photos[:4], f"{photos[0]}.gone"), (*names, "gone"), strict=True)
    items = [Item(item_id=name, image_uri=f"file://{path}") for path, name in images]
    made = client.submit(items, models=[model, odd_model], target="top:2", report=True)
    made.wait(timeout=120)
    return made.id


@pytest.fixture
def views(job, model):
    return {
        "explain": "#/explain",
        "jobs": "#/jobs",
        "no jobs": "#/jobs?q=no-such-job",
        "submit": "#/submit",
        "job": f"#/jobs/{job}",
        "exports": f"#/jobs/{job}/exports?status=ok&label=none",
        "models": "#/models",
        "model": f"#/models/{model.id}@1",
        "odd model": "#/models/odd-names@1",
        "workers": "#/workers",
        "no view": "#/nowhere",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_view_runs_over_its_window_and_axe_finds_nothing_serious(
    opened, tokens, views, photos, width, scheme
):
    window = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = window.page
    window.sign_in(tokens.create("root", ("admin",), 1)[0])
    source = AXE.read_text()
    for name, address in views.items():
        window.open(address)
        page.locator(".view h1, .view .state").first.wait_for()
        if name == "explain":
            page.set_input_files("input[type=file]", str(photos[0]))
            page.locator(".class-bar").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.evaluate(source)
        found = [one for one in page.evaluate(RUN) if one[1] in SERIOUS]
        assert found == [], name


def test_the_sign_in_is_accessible(opened, model):
    window = opened()
    window.open()
    window.page.get_by_label("Token").wait_for()
    window.page.evaluate(AXE.read_text())
    assert [one for one in window.page.evaluate(RUN) if one[1] in SERIOUS] == []


def test_a_keyboard_alone_reaches_the_views_and_skips_the_bar(window):
    page = window.page
    page.reload()
    page.get_by_role("navigation").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Workers").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Workers").wait_for()


def test_forced_colours_and_a_zoom_of_200_percent_lose_nothing(opened, token, job, model):
    """Twice the zoom is half the width for the page."""
    window = opened(viewport={"width": 640, "height": 400}, forced_colors="active")
    window.sign_in(token)
    for address in ("#/jobs", "#/models", "#/submit"):
        window.open(address)
        window.page.locator(".view h1").first.wait_for()
        assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
