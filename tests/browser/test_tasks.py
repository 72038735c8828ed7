"""Each of the page's tasks, done as a person does it."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from browser.conftest import ALL, ODD_LABELS
from helpers.gateway import gateway

pytestmark = pytest.mark.browser

REFUSED = r"status of (401|404|422)"  # what Chromium's console says of an answer that is an error
PIXELS = """(canvas) => canvas.getContext("2d")
  .getImageData(0, 0, canvas.width, canvas.height).data.join()"""


@pytest.fixture
def page(window):
    return window.page


def upload(page, *paths):
    page.set_input_files("input[type=file]", [str(path) for path in paths])


def explained(page, photo):
    upload(page, photo)
    page.locator(".class-bar").first.wait_for()


def asked(page):
    """Return a list that grows by each question that the page asks from now on."""
    found = []

    def note(request):
        if "/v1/" in request.url:
            found.append(f"{request.method} {request.url}")

    page.on("request", note)
    return found


def test_a_person_signs_in_at_the_view_that_the_address_names_and_out_again(
    opened, token, model, web
):
    window = opened()
    window.allowed.append(REFUSED)
    page = window.page
    window.open("#/workers")
    page.get_by_label("Token").fill("cf_0123456789abcdef_" + "x" * 43)
    page.keyboard.press("Enter")
    page.get_by_text("no valid token").wait_for()
    window.sign_in(token, "#/workers")
    page.get_by_role("heading", name="Workers").wait_for()
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    page.reload()
    page.get_by_role("heading", name="Workers").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Token").wait_for()
    page.go_back()
    page.reload()
    page.get_by_label("Token").wait_for()


def test_a_token_that_is_revoked_ends_at_the_sign_in_and_goes_on_from_there(
    opened, tokens, token, model
):
    window = opened()
    window.allowed.append(REFUSED)
    text, record = tokens.create("bob", ALL, 1)
    window.sign_in(text, "#/jobs")
    tokens.revoke(record.id)
    window.page.get_by_label("Token").wait_for(
        timeout=40_000
    )  # by itself, as the table looks again
    window.page.get_by_label("Token").fill(token)
    window.page.keyboard.press("Enter")
    window.page.get_by_role("heading", name="Jobs", exact=True).wait_for()


def test_an_image_is_explained_and_looked_at_from_all_sides_without_asking_again(
    window, page, model, photos
):
    page.get_by_label("Model").select_option(model.id)
    page.get_by_label("Classes").fill("top:2")
    page.keyboard.press("Enter")
    explained(page, photos[0])
    bars = page.locator(".class-bar")
    assert [bars.nth(i).get_attribute("aria-pressed") for i in range(2)] == ["true", "false"]
    assert re.search(r"bright.*%|dark.*%", bars.first.inner_text(), re.DOTALL)
    window.wait(lambda: page.locator(".photo canvas").is_visible())
    canvas = page.locator(".photo canvas")
    window.wait(lambda: page.locator(".ring").is_visible())
    first = canvas.evaluate(PIXELS)
    requests = asked(page)
    page.get_by_label("Colours").select_option("viridis")
    assert canvas.evaluate(PIXELS) != first
    page.get_by_label("Colours").select_option("turbo")
    page.get_by_role("slider", name="Opacity").fill("0.9")
    assert canvas.evaluate("(canvas) => canvas.style.opacity") == "0.9"
    assert canvas.evaluate(PIXELS) == first
    page.get_by_label("Threshold").fill("0.5")
    assert canvas.evaluate(PIXELS).count(",0,0,0,0,") > 100  # what is below is clear
    assert requests == []
    bars.nth(1).click()
    window.wait(lambda: bars.nth(1).get_attribute("aria-pressed") == "true")
    page.get_by_text("Nothing in the image speaks for").wait_for()
    bars.first.click()
    window.wait(lambda: len(requests) <= 1)  # the other class's raw map, once


def test_values_stand_under_the_pointer_and_under_the_cross_of_the_keyboard(window, page, photos):
    explained(page, photos[0])
    window.wait(lambda: page.locator(".ring").is_visible())
    photo = page.locator(".photo")
    photo.hover(position={"x": 5, "y": 5})
    told = page.locator(".probe")
    assert re.fullmatch(
        r"Row 1 of \d+, column 1 of \d+ · heat \d\.\d\d · raw \S+", told.inner_text()
    )
    page.mouse.move(0, 0)
    photo.focus()
    page.keyboard.press("ArrowRight")
    before = told.inner_text()
    page.keyboard.press("ArrowDown")
    assert told.inner_text() != before
    page.keyboard.press("3")
    assert page.get_by_role("slider", name="Opacity").input_value() == "0.3"


def test_a_method_that_was_asked_before_is_shown_again_without_a_request(window, page, photos):
    explained(page, photos[0])
    window.wait(lambda: page.locator(".ring").is_visible())
    requests = asked(page)
    page.get_by_label("Method").select_option("hirescam")
    window.wait(lambda: any("POST" in one and "v1/explain" in one for one in requests))
    window.wait(lambda: any(one.endswith("/raw") for one in requests))
    requests.clear()
    page.get_by_label("Method").select_option("gradcam")
    window.wait(lambda: "method=" not in page.url)
    page.wait_for_timeout(300)
    assert requests == []


def test_a_colleague_sees_the_same_by_the_address(window, page, opened, tokens, photos):
    explained(page, photos[2])
    page.get_by_label("Colours").select_option("inferno")
    page.get_by_label("Threshold").fill("0.25")
    window.wait(lambda: "threshold=0.25" in page.url)
    window.wait(lambda: page.locator(".ring").is_visible())
    other = opened()
    other.sign_in(tokens.create("bob", ALL, 1)[0], page.url.removeprefix(other.base))
    other.page.locator(".class-bar").first.wait_for()
    other.wait(lambda: other.page.locator(".ring").is_visible())
    assert other.page.get_by_label("Threshold").input_value() == "0.25"
    mine, theirs = (one.locator(".photo canvas").evaluate(PIXELS) for one in (page, other.page))
    assert mine == theirs


def test_the_question_is_copied_as_a_program_asks_it(window, page, photos, run_copied):
    explained(page, photos[0])
    page.get_by_text("The same by program").click()
    shown = page.locator("pre.example")
    texts = {}
    for language in ("curl", "Python", "camfleet explain", "JavaScript"):
        page.get_by_label("Language").select_option(language)
        texts[language] = shown.inner_text()
    assert run_copied(texts["curl"])["results"][0]["status"] == "ok"
    compile(texts["Python"], "copied", "exec")
    assert texts["camfleet explain"].startswith("camfleet explain s3://")


def test_what_fails_is_told_with_its_code_and_what_to_do(window, page, folder):
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"not a picture" * 9)
    upload(page, broken)
    page.locator(".state.failed").wait_for()
    assert "Code " in page.locator(".state.failed").inner_text()
    window.allowed.append(REFUSED)
    page.get_by_label("or an address").fill("file:///etc/passwd")
    page.keyboard.press("Enter")
    page.get_by_text("local files can't be named over HTTP").wait_for()


def test_labels_that_are_markup_or_very_long_are_text(window, page, odd_model, photos):
    window.open("#/explain?model=odd-names&target=top:2")
    page.reload()
    explained(page, photos[0])
    shown = " ".join(page.locator(".class-bar").all_inner_texts())
    assert all(label.strip() in shown for label in ODD_LABELS)
    assert page.title().startswith("Explain")
    window.open("#/models/odd-names@1")
    page.get_by_text(ODD_LABELS[0]).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def submit(page, model, warning=""):
    for box in page.get_by_role("checkbox", name=re.compile("@")).all():
        box.set_checked(False)
    page.get_by_role("checkbox", name=f"{model.id}@{model.version}").check()
    page.get_by_role("button", name="Submit").click()
    if warning:
        page.get_by_text(warning).wait_for()
        page.get_by_role("link", name="Go to the job").click()
    page.wait_for_url("**/#/jobs/http-*")


def ended(page, state="complete"):
    page.locator(".job-state", has_text=state).wait_for(timeout=60_000)


def accounts(page):
    """Return the numbers of the accounting, by their words."""
    rows = page.locator(".sums tr").all_inner_texts()
    return {text.split("\t", 1)[1].strip(): int(text.split("\t", 1)[0]) for text in rows}


def test_a_job_of_uploaded_photographs_is_followed_to_its_end(window, page, model, photos):
    window.open("#/submit")
    page.get_by_role("radio", name="From this computer").check()
    upload(page, *photos[:5])
    submit(page, model)
    ended(page)
    told = accounts(page)
    assert told["explanations"] == told["images"] == 5
    assert told["ok"] + told["no evidence"] + told["failed"] + told["still to do"] == 5
    page.get_by_role("link", name="CSV").wait_for()
    with page.expect_download() as loading:
        page.get_by_role("link", name="CSV").click()
    text = loading.value.path().read_text()
    assert [path.name in text for path in photos[:5]] == [True] * 5
    window.open("#/jobs")
    page.get_by_role("link", name=re.compile("http-")).first.wait_for()


def test_failures_stand_by_code_lead_to_their_rows_and_are_tried_again(
    window, page, model, web, photos
):
    good = web.ask("POST", "/v1/uploads", photos[0].read_bytes(), Content_Type="image/png")
    gone = good.json["uri"].partition("/uploads/")[0] + "/no-such-photograph.png"
    window.open("#/submit")
    page.get_by_role("radio", name="A list").check()
    page.get_by_label(re.compile("A list:")).fill(f"{good.json['uri']}\n{gone}\n")
    submit(page, model)
    ended(page)
    code = page.locator(".codes code")
    code.wait_for()
    link = page.get_by_role("link", name=code.inner_text()).get_attribute("href")
    assert "status=failed" in link
    assert f"code={code.inner_text()}" in link
    page.locator(".codes p", has_text="no-such-photograph").wait_for()
    assert accounts(page)["failed"] == 1
    page.get_by_role("button", name="Retry 1 failed").click()
    page.get_by_text("Retries").wait_for()
    ended(page)
    assert accounts(page)["failed"] == 1


def test_a_job_is_cancelled_once_that_is_confirmed_and_resumed(
    opened, worker_environ, folder, tokens, model, photos, client
):
    """Nobody works on it: its gateway has a Redis without workers."""
    url = worker_environ["CAMFLEET_REDIS_URL"]
    environ = {**worker_environ, "CAMFLEET_REDIS_URL": url.replace("/4", "/5")}
    with gateway(environ, folder, None) as idle:
        token = tokens.create("ann", ALL, 1)[0]
        window = opened(f"http://127.0.0.1:{idle.port}/")
        page = window.page
        window.sign_in(token, "#/submit")
        page.get_by_role("radio", name="From this computer").check()
        upload(page, photos[0])
        submit(page, model, "no worker is alive")
        ended(page, "queued")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Keep it running").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel the job").click()
        ended(page, "cancelled")
        assert accounts(page)["not done when it was cancelled"] == 1
        page.get_by_role("button", name="Resume").click()
        ended(page, "queued")
        page.goto("about:blank")


def test_a_job_twice_submitted_by_an_impatient_person_is_one(window, page, model, photos, web):
    window.open("#/submit")
    page.get_by_role("radio", name="From this computer").check()
    upload(page, photos[4])
    before = len(web.ask("GET", "/v1/jobs?limit=1000").json["jobs"])
    page.get_by_role("button", name="Submit").dblclick()
    page.wait_for_url("**/#/jobs/http-*")
    assert len(web.ask("GET", "/v1/jobs?limit=1000").json["jobs"]) == before + 1


def test_the_table_of_jobs_shows_a_new_one_by_itself_and_is_filtered(
    window, page, web, model, photos
):
    window.open("#/jobs")
    page.locator("h1", has_text="Jobs").wait_for()
    image = web.ask("POST", "/v1/uploads", photos[6].read_bytes(), Content_Type="image/png").json
    asked_for = {"models": model.id, "images": [{"image": image["uri"]}]}
    made = web.ask("POST", "/v1/jobs", asked_for, Idempotency_Key="by-itself").json["job"]["job_id"]
    link = page.get_by_role("link", name=made)
    link.wait_for(timeout=30_000)
    page.get_by_label("Search").fill("no such job")
    page.get_by_text("No job fits").wait_for()
    page.get_by_label("Search").fill(made[-8:])
    link.wait_for()
    assert "q=" in page.url


def test_a_model_shows_where_it_is_cut(window, page, model):
    window.open("#/models")
    page.get_by_role("row", name=re.compile(model.id)).get_by_role("link").first.click()
    page.get_by_text("Maps are made here").wait_for()
    cut = page.locator(".cut").inner_text()
    assert re.search(r"32 . 48", cut)
    assert "2 classes" in cut
    page.get_by_role("link", name="Explain an image").click()
    page.wait_for_url(f"**/#/explain?model={quote(model.id)}*")


def test_the_workers_say_what_they_do(window, page, worker):
    window.open("#/workers")
    page.get_by_role("heading", name=re.compile("celery@")).first.wait_for()
    assert "CPU" in page.locator(".cards").inner_text()


def test_a_token_without_a_scope_is_told_so(opened, tokens, model):
    window = opened()
    window.allowed.append("status of 403")
    window.sign_in(tokens.create("eve", ("jobs:read",), 1)[0])
    window.page.get_by_text("Your token doesn't explain images").wait_for()
    window.open("#/submit")
    window.page.get_by_text("Your token doesn't submit jobs").wait_for()


def test_a_gateway_that_goes_away_is_told_and_found_again(
    opened, worker_environ, folder, tokens, model
):
    text = tokens.create("ann", ALL, 1)[0]
    with gateway(worker_environ, folder, None) as started:
        window = opened(f"http://127.0.0.1:{started.port}/")
        window.allowed.append("ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET")
        window.sign_in(text, "#/workers")
        window.page.get_by_role("heading", name=re.compile("celery@")).first.wait_for()
        port = started.port
    window.page.get_by_text("Not up to date").wait_for()
    with gateway(worker_environ, folder, None, port=port):
        window.wait(lambda: not window.page.get_by_text("Not up to date").is_visible(), 30)


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title>")

    def log_message(self, *words):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # same site, and another one
def test_a_page_of_another_origin_can_neither_read_nor_change_anything(window, page, web, host):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    statuses = []
    page.on("response", lambda told: statuses.append((told.url, told.status)))
    window.allowed.append("status of 40[13]|ERR_BLOCKED|Framing|policy")
    try:
        page.goto(f"http://{host}:{server.server_port}/")
        for method in ("GET", "POST"):
            page.evaluate(
                """([url, method]) => fetch(url, {method, mode: "no-cors", credentials: "include"})
                .then(() => 0, () => 0)""",
                [
                    f"http://127.0.0.1:{web.port}/v1/{'models' if method == 'GET' else 'session'}",
                    method,
                ],
            )
        framed = page.evaluate(
            """(url) => new Promise((done) => {
              const frame = document.createElement("iframe");
              frame.onload = () => {
                try { done(frame.contentDocument.title); } catch { done(""); }
              };
              frame.src = url;
              document.body.append(frame);
            })""",
            f"http://127.0.0.1:{web.port}/",
        )
    finally:
        server.shutdown()
        server.server_close()
    told = [status for url, status in statuses if f":{web.port}/v1" in url]
    assert told
    assert set(told) <= {401, 403}
    assert "camfleet" not in framed


def test_the_policy_is_enforced(window, page):
    window.allowed.append("policy|requires 'Trusted")
    assert (
        page.evaluate(
            """() => {
          const script = document.createElement("script");
          try { script.textContent = "window.ran = true"; } catch {}
          document.head.append(script);
          try { document.body.innerHTML += "<b>x</b>"; } catch { return window.ran ?? "held"; }
          return "parsed";
        }"""
        )
        == "held"
    )
