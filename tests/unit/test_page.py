"""The page's files: small, without a third party, and without what parses text as HTML."""

import re
from importlib.resources import files

import pytest

from camfleet.gateway.page import POLICY, Page

FILES = Page().files
SCRIPTS = {path: file.content.decode() for path, file in FILES.items() if path.endswith(".js")}
MOST_BYTES = 100_000  # of all JavaScript together, as it's sent
PARSES = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "srcdoc", "eval(")
PARSES += (
    "DOMParser",
    "new Function",
    "createContextualFragment",
    "setHTMLUnsafe",
    "setAttributeNS",
)


def test_all_scripts_together_are_small():
    sent = sum(len(FILES[path].packed) for path in SCRIPTS)
    assert 10_000 < sent < MOST_BYTES


@pytest.mark.parametrize("path", SCRIPTS)
def test_no_script_parses_text_as_html_or_code(path):
    assert [word for word in PARSES if word in SCRIPTS[path]] == []


@pytest.mark.parametrize("path", FILES)
def test_nothing_comes_from_elsewhere(path):
    text = FILES[path].content.decode()
    allowed = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[\w./-]+", text)) <= allowed
    assert not (path.endswith(".css") and re.search(r"url\(|@import", text))


@pytest.mark.parametrize("path", SCRIPTS)
def test_what_a_script_imports_is_there(path):
    for name in re.findall(r'from "([^"]+)"', SCRIPTS[path]):
        folder = path.rpartition("/")[0] if name.startswith("./") else "/page"
        assert f"{folder}/{name.lstrip('./')}" in SCRIPTS


def test_every_file_of_the_folder_is_served_as_what_it_is():
    folder = files("camfleet.gateway") / "page"
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {path.rpartition("/")[2] for path in FILES if "/views/" not in path} == {
        *(names - {"index.html"}),
        "",
    }
    assert FILES["/"].kind == "text/html; charset=utf-8"


def test_the_policy_allows_nothing_that_is_inline_or_foreign():
    assert "unsafe" not in POLICY
    assert "*" not in POLICY
    assert "data:" not in POLICY


def test_every_view_of_the_router_has_its_module():
    table = SCRIPTS["/page/app.js"].partition("const VIEWS")[2].partition("];")[0]
    modules = set(re.findall(r'\["\w+", "/[^"]*", "(\w+)"', table))
    assert len(modules) > 5
    assert {f"/page/views/{module}.js" for module in modules} <= set(SCRIPTS)
