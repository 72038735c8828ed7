"""A browser in front of a real gateway with a real worker; `make browser` brings what it needs.

Every page that a test opens fails it on a console error, an exception or a violation of the policy.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from camfleet.contract.codec import encode_json, sealed
from camfleet.contract.geometry import Geometry
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from e2e.conftest import client, folder, metrics_port, model, photos, worker  # noqa: F401
from helpers import rows
from helpers.databases import environ_on
from helpers.gateway import gateway
from helpers.samples import patch_model, write_card
from helpers.waiting import wait_until

TOOLS = Path(__file__).parents[2] / ".tools" / "browser"
AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WATCH = """
addEventListener("securitypolicyviolation",
  (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
ALL = ("explain", "jobs:read", "jobs:write")
# What a person may write into a card: nothing of it is markup, nothing breaks the page.
ODD_LABELS = ('<img src=x onerror="document.title=1">', "שלום עולם " * 20)

# Of all photographs.
GEOMETRY = Geometry(
    image_height=60, image_width=80, input_height=32, input_width=48,
    left=0, top=0, right=80, bottom=60,
)  # fmt: skip


@pytest.fixture(scope="session")
def worker_environ(environ, folder):  # noqa: F811  # a fixture of that name
    return {
        **environ_on(environ, 4),
        "CAMFLEET_FILE_ROOTS": str(folder),
        "CAMFLEET_MODEL_DIR": str(folder / "models"),
        "CAMFLEET_CHUNK_SIZE": "2",
    }


@pytest.fixture(scope="session")
def launch():
    """Start a browser with further options of its command line."""
    sys.path.append(str(next(TOOLS.glob("lib/python*/site-packages"))))
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, f"install one of {', '.join(NAMES)}: the tests drive the system's browser"
    with sync_playwright() as driver:

        def launch(*options):
            args = ["--no-sandbox", *options]
            return driver.chromium.launch(executable_path=program, args=args)

        yield launch


@pytest.fixture(scope="session")
def chromium(launch):
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def tokens(client):  # noqa: F811
    with closing(Storage(client.settings)) as storage:
        yield Tokens(storage)


@pytest.fixture(scope="session")
def token(tokens):
    return tokens.create("ann", ALL, 1)[0]


@pytest.fixture(scope="session")
def web(worker_environ, folder, token):  # noqa: F811
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="session")
def odd_model(client, folder):  # noqa: F811
    """Register a model with labels that are markup, long, and written from right to left."""
    labels = "[" + ", ".join("'''" + text + "'''" for text in ODD_LABELS) + "]"
    path = write_card(folder / "odd", "odd-names", model=patch_model(), labels=labels)
    ref, _ = client.models.add(path, timeout=240)
    return ref


@pytest.fixture(scope="session")
def storage(client):  # noqa: F811
    return client.storage


@pytest.fixture(scope="session")
def uris(storage, photos):  # noqa: F811
    return [
        storage.put(f"after/{n}.png", path.read_bytes(), "image/png")
        for n, path in enumerate(photos)
    ]


@pytest.fixture(scope="session")
def enter(client, storage):  # noqa: F811
    """Write a job of made-up rows as ann's, and let Redis know of it."""

    def enter(job_id, parts, size, models=(rows.MODEL,)):
        record = changed(rows.job(storage, job_id, parts, size, models), owner="ann")
        storage.put(keys.job(job_id), encode_json(sealed(record, 2)), "application/json")
        client.resume(job_id)
        return job_id

    return enter


@dataclass
class Window:
    """A browser's window at the page of a gateway; `faults` are what it complained of."""

    page: object
    base: str
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # patterns of faults that a test brings about

    def open(self, address=""):
        self.page.goto(self.base + address)

    def sign_in(self, token, address=""):
        self.open(address)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Views").wait_for()

    def wait(self, condition, seconds=20):
        """Wait until something holds, letting the browser work meanwhile."""

        def holds():
            self.page.wait_for_timeout(50)
            return condition()

        wait_until(holds, seconds)

    def check(self):
        left = [
            text for text in self.faults if not any(re.search(one, text) for one in self.allowed)
        ]
        assert left == []


@pytest.fixture
def opened(chromium, web):
    """Open windows: `opened()`, `opened(base, viewport=...)`; each is a browser of its own."""
    windows = []

    def open_window(base=None, browser=chromium, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(20_000)
        context.add_init_script(WATCH)
        window = Window(context.new_page(), base or f"http://127.0.0.1:{web.port}/")
        told = window.faults.append
        window.page.on("console", lambda told_of: told_of.type == "error" and told(told_of.text))
        window.page.on("pageerror", lambda error: told(f"exception: {error}"))
        windows.append((window, context))
        return window

    yield open_window
    for window, context in windows:
        context.close()
        window.check()


@pytest.fixture
def window(opened, token, model):  # noqa: F811
    """Open a window that is signed in."""
    made = opened()
    made.sign_in(token)
    return made


@pytest.fixture
def run_copied(token):
    """Run a copied curl command in a shell, with the token as the text says; return its JSON."""

    def run(text):
        environ = {**os.environ, "TOKEN": token}
        done = subprocess.run(["sh", "-c", text], env=environ, capture_output=True, check=True)
        return json.loads(done.stdout)

    return run
