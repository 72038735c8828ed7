"""A person with a keyboard alone signs in, explains, submits, exports and deletes."""

import re

import pytest

from browser.conftest import ALL

pytestmark = pytest.mark.browser

MOST = 80  # presses of Tab until something is reached
AT = """(text) => {
  const at = document.activeElement;
  const words = [at.innerText, at.labels?.[0]?.innerText, at.getAttribute("aria-label")];
  return words.some((one) => one?.includes(text));
}"""
RINGED = """() => {
  const at = document.activeElement;
  return [at, ...(at.labels ?? [])].some((one) => getComputedStyle(one).outlineStyle !== "none");
}"""


def tab_to(page, text):
    """Press Tab until what has these words has the focus, and shows that."""
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if page.evaluate(AT, text):
            assert page.evaluate(RINGED), f"nobody sees that {text} has the focus"
            return
    raise AssertionError(f"no Tab leads to {text}")


@pytest.fixture
def page(opened, tokens, model):
    window = opened()
    window.open()
    window.page.get_by_label("Token").wait_for()
    window.page.keyboard.type(tokens.create("ann", ALL, 1)[0])
    window.page.keyboard.press("Enter")
    window.page.get_by_role("navigation", name="Views").wait_for()
    return window.page


def test_an_image_is_explained_and_its_classes_looked_at(page, photos):
    page.get_by_text("Choose a photograph").wait_for()
    tab_to(page, "Choose a photograph")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(photos[0]))
    bars = page.locator(".class-bar")
    bars.nth(1).wait_for()
    tab_to(page, bars.nth(1).inner_text().split("\n")[0])
    page.keyboard.press("Enter")
    page.get_by_text("Nothing in the image speaks for").wait_for()


def test_a_job_is_submitted_and_exported_and_the_archive_deleted(page, model, uris):
    tab_to(page, "Jobs")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="New job").wait_for()
    tab_to(page, "New job")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="New job").wait_for()
    tab_to(page, "All below a prefix")
    page.keyboard.press("ArrowRight")
    tab_to(page, "A list:")
    page.keyboard.type(uris[0])
    wanted = f"{model.id}@{model.version}"
    for box in page.get_by_role("checkbox", name=re.compile("@")).all():
        label = box.evaluate("(one) => one.labels[0].innerText")
        if box.is_checked() != (wanted in label):
            tab_to(page, label.split()[0])
            page.keyboard.press("Space")
    tab_to(page, "Submit")
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/jobs/http-*")
    page.locator(".job-state", has_text="complete").wait_for(timeout=60_000)
    tab_to(page, "Exports")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Make it").wait_for()
    tab_to(page, "Make it")
    page.keyboard.press("Enter")
    page.locator(".exports > li", has_text="Ready").wait_for(timeout=60_000)
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_text("None yet").wait_for()
