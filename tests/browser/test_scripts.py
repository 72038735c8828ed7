"""What scripts a browser really loads for a view, as they were written and as they're sent."""

import pytest

from camfleet.gateway.page import Page
from helpers import rows

pytestmark = pytest.mark.browser

MOST = 100_000  # bytes: of the sign-in and a view as they were written, of all views as sent
SIGN_IN = "views/sign_in.js"


@pytest.fixture(scope="module")
def addresses(enter, model):
    """Give an address of each view, by the script that shows it."""
    job = enter("browser-scripts", [[rows.row(n, [[0.0, 1.0]]) for n in range(2)]], 2)
    return {
        "explain": "#/explain",
        "jobs": "#/jobs",
        "submit": "#/submit",
        "job": f"#/jobs/{job}",
        "gallery": f"#/jobs/{job}/gallery",
        "image": f"#/jobs/{job}/images/0:0",
        "report": f"#/jobs/{job}/report",
        "exports": f"#/jobs/{job}/exports",
        "compare": f"#/compare/{job}/{job}",
        "reviews": "#/reviews",
        "models": f"#/models/{model.id}",
        "workers": "#/workers",
    }


@pytest.fixture
def load(opened, tokens):
    """Give a function that signs in at an address, in a browser that has kept nothing.

    It returns the scripts that were loaded, by path: their bytes, and how many were sent.
    """
    token = tokens.create("root", ("admin",), 1)[0]

    def load(address):
        window, answers = opened(), []
        window.allowed.append(r"status of (404|422|503)")  # such a job has no photographs
        window.page.on("response", lambda one: one.url.endswith(".js") and answers.append(one))
        window.sign_in(token, address)
        window.page.locator(".view h1").first.wait_for()
        window.page.wait_for_load_state("networkidle")
        found = {one.url.partition("/page/")[2]: one for one in answers}
        return {
            name: (len(one.body()), int(one.headers["content-length"]))
            for name, one in found.items()
        }

    return load


def test_the_sign_in_with_any_one_view_is_little_and_so_are_all_views_together(load, addresses):
    every = {}
    for view, address in addresses.items():
        found = load(address)
        assert {one for one in found if one.startswith("views/")} == {SIGN_IN, f"views/{view}.js"}
        assert sum(size for size, _ in found.values()) < MOST, view
        every |= found
    assert sum(sent for _, sent in every.values()) < MOST
    assert {f"/page/{name}" for name in every} == {
        path for path in Page().files if path.endswith(".js")
    }
