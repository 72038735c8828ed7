"""The page's scripts: what each view needs is little, and easy to read."""

import re
from posixpath import dirname, join, normpath

import pytest

from camfleet.gateway.page import Page

SCRIPTS = {path: file.content.decode() for path, file in Page().files.items() if ".js" in path}
VIEWS = sorted(path for path in SCRIPTS if path.startswith("/page/views/"))
MOST = 75_000  # bytes, uncompressed
MOST_IN_ALL = 80_000  # bytes of all scripts together, as they're sent
LINES = 300


def needed(path):
    """Return the scripts that load with one, itself among them: its static imports, and theirs."""
    found, new = set(), {path}
    while new:
        found |= new
        new = {
            normpath(join(dirname(one), name))
            for one in new
            for name in re.findall(r'^import .*"(\..*)";$', SCRIPTS[one], re.MULTILINE)
        } - found
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_needs_little_and_only_what_is_there(view):
    files = needed("/page/app.js") | needed(view)
    assert len(files) > 3
    assert sum(len(SCRIPTS[path].encode()) for path in files) < MOST


def test_who_opens_every_view_has_loaded_little():
    files = Page().files
    assert sum(len(files[path].packed) for path in SCRIPTS) < MOST_IN_ALL


def test_only_the_sign_in_is_there_before_a_view_is_opened():
    assert [path for path in needed("/page/app.js") if path in VIEWS] == ["/page/views/sign_in.js"]


def test_the_document_names_what_every_view_needs_so_that_it_comes_at_once():
    document = Page().files["/"].content.decode()
    named = re.findall(r'<link rel="modulepreload" href="(.*)">', document)
    assert sorted(f"/{one}" for one in named) == sorted(needed("/page/app.js") - {"/page/app.js"})


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_has_at_most_300_lines(path):
    assert SCRIPTS[path].count("\n") <= LINES


def test_every_script_is_used_by_a_view():
    assert set().union(*map(needed, VIEWS), needed("/page/app.js")) == set(SCRIPTS)


def test_nothing_is_imported_that_is_not_used():
    for path, text in SCRIPTS.items():
        for names in re.findall(r"^import \{([^}]*)\}", text, re.MULTILINE):
            for name in names.split(","):
                uses = len(re.findall(rf"\b{name.strip()}\b", text))
                assert uses > 1, f"{path} imports {name}"
