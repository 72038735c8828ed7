"""The HTTP gateway against a real worker: explaining, models, tokens."""

import json
import re
import subprocess
import time

import pytest

from camfleet.gateway.access.tokens import Tokens
from helpers import documents
from helpers.gateway import gateway
from helpers.reviews import version
from helpers.waiting import wait_until


@pytest.fixture(scope="module")
def tokens(client):
    return Tokens(client.storage)


@pytest.fixture(scope="module")
def make(tokens):
    def create(owner, *scopes, days=1):
        return tokens.create(owner, scopes or ("explain", "jobs:read", "jobs:write"), days)

    return create


@pytest.fixture(scope="module")
def web(worker_environ, folder, make):
    with gateway(worker_environ, folder, make("ann")[0]) as started:
        yield started


@pytest.fixture(scope="module")
def photo(photos):
    return photos[0].read_bytes()


def test_an_image_in_the_body_is_explained_while_one_waits(web, model, photo):
    answered = web.ask(
        "POST", f"/v1/explain?model={model.id}&target=top:2", photo, Content_Type="image/jpeg"
    )
    assert answered.status == 200, answered.body
    assert [row["rank"] for row in answered.json["results"]] == [0, 1]
    assert answered.headers["cache-control"] == "no-store"


def test_an_uploaded_image_is_explained_by_its_uri_as_the_python_client_does(
    web, client, model, photo
):
    uri = web.ask("POST", "/v1/uploads", photo, Content_Type="image/jpeg").json["uri"]
    answered = web.ask("POST", "/v1/explain", {"image": uri, "model": model.id, "pictures": []})
    (row,) = answered.json["results"]
    (same,) = client.explain(uri, model=model, pictures=[]).result()
    assert (row["class_index"], row["probability"]) == (same.class_index, same.probability)


def test_a_threshold_in_the_query_is_a_number_or_otsu(web, model, photo):
    path = f"/v1/explain?model={model.id}&shapes=box&pictures=raw"
    wide, narrow, otsu = (
        web.ask("POST", f"{path}&threshold={text}", photo, Content_Type="image/jpeg").json
        for text in ("0.05", "0.999", "otsu")
    )
    areas = [
        [sum(box["area"] for box in row["regions"]) for row in answer["results"]]
        for answer in (wide, narrow, otsu)
    ]
    assert areas[0] > areas[2] > areas[1]
    for wrong in ("7", "none"):
        refused = web.ask("POST", f"{path}&threshold={wrong}", photo, Content_Type="image/jpeg")
        assert refused.status == 422
        assert "threshold" in refused.json["detail"]


def test_who_does_not_wait_asks_for_the_answer_later_and_nobody_else_gets_it(
    web, model, photo, make
):
    path = f"/v1/explain?model={model.id}"
    told = web.ask("POST", path, photo, Content_Type="image/jpeg", Prefer="respond-async")
    assert told.status == 202
    place = told.headers["location"]
    wait_until(lambda: web.ask("GET", place).status == 200, 30)
    assert web.ask("GET", place).json["results"][0]["status"] == "ok"
    assert web.ask("GET", place, token=make("bob")[0]).status == 404
    assert web.ask("GET", place, token=make("root", "admin")[0]).status == 200


def test_another_gateway_gives_the_answer_too(web, model, photo, worker_environ, folder):
    path = f"/v1/explain?model={model.id}"
    told = web.ask("POST", path, photo, Content_Type="image/jpeg", Prefer="respond-async")
    with gateway(worker_environ, folder, web.token) as other:
        wait_until(lambda: other.ask("GET", told.headers["location"]).status == 200, 30)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"image": "s3://nowhere/a.jpg", "model": "x"}, 422, "source_forbidden"),
        ({"image": "/etc/passwd", "model": "x"}, 422, "source_forbidden"),
        ({"image": "file:///etc/passwd", "model": "x"}, 422, "source_forbidden"),
        ({"image": "S3://a/b", "model": "x"}, 422, "source_forbidden"),
        ({"image": "https://a.invalid/b", "model": "none-of-ours"}, 404, "unknown_model"),
        ({"image": "https://a.invalid/b"}, 422, "invalid_request"),
        ({"image": "https://a.invalid/b", "model": "x", "colour": 1}, 422, "invalid_request"),
        ({"image": "https://a.invalid/b", "model": "x", "opacity": 7}, 422, "invalid_request"),
        (
            {"image": "https://a.invalid/b", "model": "x", "opacity": 0.7, "pictures": ["raw"]},
            422,
            "invalid_request",
        ),
        ({"image": "\ud800", "model": "x"}, 422, "invalid_request"),
    ],
    ids=str,
)
def test_what_cannot_be_explained_is_told_with_camfleets_code(web, body, status, code):
    answered = web.ask("POST", "/v1/explain", body)
    assert answered.headers["content-type"] == "application/problem+json"
    assert (answered.status, answered.json["code"]) == (status, code), answered.body


def test_records_and_pictures_of_others_in_the_own_bucket_are_no_images(web, client, model):
    for key in ("jobs/a/job.json", "tokens/a.json", "maps/a/b.png", "uploads/", "uploads/../a"):
        body = {"image": client.storage.uri(key), "model": model.id}
        assert web.ask("POST", "/v1/explain", body).json["code"] == "source_forbidden", key


def test_what_is_no_image_is_refused_before_it_is_stored(web):
    page = b"<html><script>alert(1)</script>"
    for kind in ("image/svg+xml", "image/jpeg", "text/html", "multipart/form-data"):
        assert web.ask("POST", "/v1/uploads", page, Content_Type=kind).status == 415
    assert web.ask("POST", "/v1/uploads", b"", Content_Type="text/csv").status == 422


def test_a_version_without_a_card_is_listed_as_not_usable(web, client, model):
    version(client.storage, "gateway-lost", 1)
    listed = web.ask("GET", "/v1/models").json["models"]
    assert [one["usable"] for one in listed if one["id"] == "gateway-lost"] == [False]


def test_models_and_workers_are_listed(web, model):
    listed = web.ask("GET", "/v1/models").json["models"]
    assert [one["usable"] for one in listed if one["id"] == model.id] == [True]
    assert model.version in {one["version"] for one in listed if one["id"] == model.id}
    found = web.ask("GET", f"/v1/models/{model.id}@{model.version}").json
    assert found["digest"] == model.digest
    assert web.ask("GET", "/v1/models/nobody").json["code"] == "unknown_model"
    assert len(web.ask("GET", "/v1/workers").json["workers"]) >= 1
    assert web.ask("GET", "/readyz", token=None).json == {"ready": True}


def test_a_revoked_token_opens_nothing_within_seconds(web, make, run):
    text, record = make("carol")
    assert web.ask("GET", "/v1/models", token=text).status == 200
    assert run("tokens", "revoke", record.id).returncode == 0
    started = time.monotonic()
    wait_until(lambda: web.ask("GET", "/v1/models", token=text).status == 401, 20)
    assert time.monotonic() - started < 10


def test_the_command_line_makes_and_lists_tokens_whose_secrets_the_bucket_lacks(
    web, run, client, tokens
):
    words = ("--owner", "dan", "--most-requests", "3", "--most-bytes", "10G", "--json")
    made = json.loads(run("tokens", "create", *words).stdout)
    assert made["limits"] == {"requests": 3, "bytes": 10 * 2**30}
    assert web.ask("GET", "/v1/models", token=made["token"]).status == 200
    listed = json.loads(run("tokens", "list", "--json").stdout)
    assert [one["state"] for one in listed if one["id"] == made["id"]] == ["valid"]
    stored = client.storage.get(f"tokens/{made['id']}.json").data.decode()
    assert made["token"].split("_", 2)[2] not in stored
    assert run("tokens", "revoke", "../x").returncode == 1


def test_it_listens_beyond_loopback_only_behind_tls(run):
    refused = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "--behind-tls" in refused.stderr


def test_term_ends_it_while_somebody_waits(worker_environ, folder, make):
    with gateway(worker_environ, folder, make("eve")[0]) as started:
        assert started.ask("GET", "/livez", token=None).status == 200
        started.process.terminate()
        assert started.process.wait(20) == 0


def test_what_the_document_does_with_curl_works(
    web, client, model, photos, folder, worker_environ, make
):
    """In the document's order; a command may name what the answer to an earlier one is called."""
    place = folder / "curl"
    place.mkdir()
    (place / "rose.jpg").write_bytes(photos[0].read_bytes())
    client.storage.put("photos/rose.jpg", photos[0].read_bytes(), "image/png")
    page = documents.ROOT / "docs" / "http-api.md"
    text = "\n".join(block.text for block in documents.blocks(page))
    commands = re.findall(r"^\$ (curl .*)$", text, re.MULTILINE)
    assert len(commands) >= 3
    environ = {**worker_environ, "TOKEN": make("reader")[0]}
    job = "JOB"
    for command in commands:
        bound = command.replace(":8100/", f":{web.port}/").replace("flowers", model.id)
        bound = bound.replace("my-bucket", client.storage.bucket).replace("JOB", job)
        done = subprocess.run(
            ["bash", "-c", bound],
            cwd=place,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if found := re.search(r'"job_id":"([^"]+)"', done.stdout):
            job = found[1]
        assert done.returncode == 0, f"{bound}\n{done.stdout}{done.stderr}"
