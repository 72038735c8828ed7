"""A session that ends while a person is at work: all that was begun is there after the sign-in."""

import re

import pytest

from browser.conftest import ALL, AXE
from browser.test_looks import RUN, SERIOUS
from helpers.gateway import gateway

pytestmark = pytest.mark.browser

REFUSED = r"status of 401"  # what Chromium's console says of it


@pytest.fixture
def person(opened, tokens, model):
    """Open a window of somebody whose token can be revoked: the window, and what does so."""
    window = opened()
    window.allowed.append(REFUSED)
    text, record = tokens.create("ann", ALL, 1)
    window.sign_in(text)
    return window, lambda: tokens.revoke(record.id)


def sign_in_again(window, token):
    door = window.page.get_by_role("dialog")
    door.get_by_label("Token").fill(token)
    door.get_by_role("button", name="Sign in").click()
    door.wait_for(state="detached")


def test_what_was_written_is_there_and_what_was_pressed_is_done(person, token, model, uris):
    window, revoke = person
    page = window.page
    window.open("#/submit")
    page.get_by_role("radio", name="A list").check()
    page.get_by_label(re.compile("A list:")).fill(uris[0])
    for box in page.get_by_role("checkbox", name=re.compile("@")).all():
        box.set_checked(False)
    page.get_by_role("checkbox", name=f"{model.id}@{model.version}").check()
    revoke()
    window.wait(lambda: page.evaluate("fetch('v1/models').then((one) => one.status)") == 401)
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("Your session is over").wait_for()
    page.evaluate(AXE.read_text())
    assert [one for one in page.evaluate(RUN) if one[1] in SERIOUS] == []
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").is_visible()
    page.get_by_label("Token").fill("cf_0123456789abcdef_" + "x" * 43)
    page.keyboard.press("Enter")
    page.get_by_text("no valid token").wait_for()
    assert page.get_by_label(re.compile("A list:")).input_value() == uris[0]
    sign_in_again(window, token)
    page.wait_for_url("**/#/jobs/http-*")
    page.locator(".job-state", has_text="complete").wait_for(timeout=60_000)


def test_a_job_that_is_followed_goes_on_after_the_sign_in(
    opened, worker_environ, folder, tokens, model, client, uris
):
    """Nobody works on it: its gateway has a Redis without workers."""
    url = worker_environ["CAMFLEET_REDIS_URL"]
    environ = {**worker_environ, "CAMFLEET_REDIS_URL": url.replace("/4", "/5")}
    text, record = tokens.create("ann", ALL, 1)
    other = tokens.create("ann", ALL, 1)[0]
    with gateway(environ, folder, other) as idle:
        body = {"models": model.id, "images": [{"image": uris[0]}]}
        made = idle.ask("POST", "/v1/jobs", body, Idempotency_Key="followed-on").json["job"]
        window = opened(f"http://127.0.0.1:{idle.port}/")
        window.allowed.append(REFUSED)
        page = window.page
        window.sign_in(text, f"#/jobs/{made['job_id']}")
        page.locator(".job-state", has_text="queued").wait_for()
        tokens.revoke(record.id)
        page.get_by_text("Your session is over").wait_for(timeout=30_000)  # by itself
        sign_in_again(window, other)
        idle.ask("POST", f"/v1/jobs/{made['job_id']}/cancel")
        page.locator(".job-state", has_text="cancelled").wait_for()
        assert page.get_by_text("the token has expired").count() == 0
        page.goto("about:blank")


def test_who_signs_in_as_somebody_else_finds_nothing_of_what_was_there(person, tokens):
    window, revoke = person
    page = window.page
    window.open("#/submit")
    page.get_by_role("radio", name="A list").check()
    page.get_by_label(re.compile("A list:")).fill("s3://ann/secret.jpg")
    revoke()
    window.wait(lambda: page.evaluate("fetch('v1/models').then((one) => one.status)") == 401)
    page.get_by_role("link", name="Workers").click()
    page.get_by_text("Your session is over").wait_for()
    sign_in_again(window, tokens.create("bob", ALL, 1)[0])
    page.get_by_role("heading", name="Workers").wait_for()
    page.go_back()
    page.get_by_role("radio", name="A list").check()
    assert page.get_by_label(re.compile("A list:")).input_value() == ""
