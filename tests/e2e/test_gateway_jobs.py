"""Jobs over HTTP against a real worker: submitted once, followed, retried."""

import json
from contextlib import closing

import pytest

from camfleet.broker.quotas import Quotas
from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from helpers.gateway import Stream, gateway
from helpers.refused_bf16 import REFUSED, refuse_bf16
from helpers.samples import write_card


@pytest.fixture(scope="module")
def tokens(client):
    return Tokens(client.storage)


@pytest.fixture(scope="module")
def web(worker_environ, folder, tokens):
    token, _ = tokens.create("jane", ("explain", "jobs:read", "jobs:write"), 1)
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="module")
def images(client, photos):
    """Put three photographs below a prefix and return their URIs."""
    return [
        client.storage.put(f"gateway-jobs/photo-{number}.png", path.read_bytes(), "image/png")
        for number, path in enumerate(photos[:3])
    ]


def wait_for_end(web, job_id):
    with closing(Stream(web, job_id)) as stream:
        while event := stream.next():
            kind, _, progress = event
        assert kind == "end"
        return progress


def test_a_job_of_named_images_runs_once_however_often_it_is_asked_for(web, model, images, client):
    body = {
        "models": model.id,
        "pictures": [],
        "images": [{"image": uri, "id": f"n{n}", "label": "a"} for n, uri in enumerate(images)],
    }
    made = web.ask("POST", "/v1/jobs", body, Idempotency_Key="first")
    assert made.status == 201, made.body
    job_id = made.json["job"]["job_id"]
    assert made.headers["location"] == f"/v1/jobs/{job_id}"
    again = web.ask("POST", "/v1/jobs", body, Idempotency_Key="first")
    assert (again.status, again.json["job"]["job_id"]) == (200, job_id)
    other = web.ask("POST", "/v1/jobs", {**body, "target": "top:2"}, Idempotency_Key="first")
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    assert wait_for_end(web, job_id)["ok"] == 3
    assert {row.item_id for row in client.job(job_id).results()} == {"n0", "n1", "n2"}
    record = json.loads(client.storage.get(f"jobs/{job_id}/job.json").data)
    assert (record["owner"], record["schema_version"]) == ("jane", 2)


def test_the_same_key_of_another_owner_is_another_job(web, model, images, tokens):
    body = {"models": model.id, "pictures": [], "images": [{"image": images[0]}]}
    bob, _ = tokens.create("bob", ("jobs:write",), 1)
    one = web.ask("POST", "/v1/jobs", body, Idempotency_Key="shared")
    other = web.ask("POST", "/v1/jobs", body, token=bob, Idempotency_Key="shared")
    assert (one.status, other.status) == (201, 201)
    assert one.json["job"]["job_id"] != other.json["job"]["job_id"]
    path = f"/v1/jobs/{other.json['job']['job_id']}"
    assert web.ask("GET", path).status == 404
    assert web.ask("GET", path, token=bob).status == 403  # it has no jobs:read


def test_a_job_of_a_prefix_and_one_of_an_uploaded_manifest(web, model, images, client):
    prefix = client.storage.uri("gateway-jobs/")
    made = web.ask(
        "POST",
        "/v1/jobs",
        {"models": [model.id], "source": prefix, "pictures": []},
        Idempotency_Key="prefix",
    )
    assert made.json["job"]["total"] == 3
    text = "image_uri,split\n" + "".join(f"{uri},test\n" for uri in images)
    uploaded = web.ask("POST", "/v1/uploads", text.encode(), Content_Type="text/csv").json["uri"]
    body = {"models": model.id, "source": uploaded, "keep_columns": ["split"], "pictures": []}
    listed = web.ask("POST", "/v1/jobs", body, Idempotency_Key="manifest")
    assert listed.status == 201, listed.body
    assert wait_for_end(web, listed.json["job"]["job_id"])["ok"] == 3


def test_a_manifest_that_names_what_callers_may_not_makes_no_job(web, model, client):
    for uri in ("/etc/passwd", "s3://elsewhere/a.jpg", client.storage.uri("jobs/x/job.json")):
        text = f"image_uri\n{uri}\n".encode()
        uploaded = web.ask("POST", "/v1/uploads", text, Content_Type="text/csv").json["uri"]
        body = {"models": model.id, "source": uploaded}
        key = f"forbidden {uri}".replace(" ", "-")
        refused = web.ask("POST", "/v1/jobs", body, Idempotency_Key=key)
        assert (refused.status, refused.json["code"]) == (422, "source_forbidden"), refused.body
        assert web.ask("GET", "/v1/jobs").status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"models": "m"}, 422),
        ({"models": "m", "source": "photos/", "images": []}, 422),
        ({"models": "m", "source": "/etc/"}, 422),
        ({"models": "m", "source": "*"}, 422),
        ({"models": "m", "images": [{"image": "https://a.invalid/"}] * 10_001}, 422),
        ({"models": "none-of-ours", "images": [{"image": "https://a.invalid/"}]}, 404),
        ({"models": [], "images": [{"image": "https://a.invalid/"}]}, 422),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_no_job_is_refused(web, body, status):
    assert web.ask("POST", "/v1/jobs", body, Idempotency_Key="wrong").status == status


def test_a_precision_that_a_model_is_not_computed_in_is_refused_and_said_before(
    web, client, images, folder
):
    exact, _ = client.models.add(write_card(folder / "exact", "gateway-exact"), timeout=120)
    refuse_bf16(client.storage, exact)
    told = web.ask("GET", "/v1/models/gateway-exact").json
    assert (told["precision"], told["precisions"]["float32"]) == ("float32", None)
    assert REFUSED in told["precisions"]["bf16"]
    body = {"models": exact.id, "images": [{"image": images[0]}], "pictures": []}
    found = web.ask("POST", "/v1/jobs", {**body, "precision": "bf16"}, Idempotency_Key="in-bf16")
    assert (found.status, found.json["code"]) == (422, "precision_refused"), found.body
    assert REFUSED in found.json["detail"]
    made = web.ask("POST", "/v1/jobs", {**body, "precision": "float32"}, Idempotency_Key="in-f32")
    assert made.status == 201, made.body
    about = web.ask("GET", f"/v1/jobs/{made.json['job']['job_id']}/about").json
    assert about["precision"] == "float32"
    assert about["created_at"].endswith("Z")


def test_without_a_key_nothing_is_submitted(web, model, images):
    body = {"models": model.id, "images": [{"image": images[0]}]}
    for key in (None, "", "a b", "a" * 256):
        headers = {} if key is None else {"Idempotency_Key": key}
        refused = web.ask("POST", "/v1/jobs", body, **headers)
        assert (refused.status, refused.json["code"]) == (400, "idempotency_key")


def test_failed_images_are_retried_and_a_complete_job_resumed(web, model, images, client):
    gone = client.storage.uri("gateway-jobs-gone.png")
    body = {"models": model.id, "pictures": [], "images": [{"image": gone}]}
    made = web.ask("POST", "/v1/jobs", body, Idempotency_Key="retried").json
    place = f"/v1/jobs/{made['job']['job_id']}"
    assert wait_for_end(web, made["job"]["job_id"])["failures"] == {"image_not_found": 1}
    assert web.ask("POST", f"{place}/retry", {"codes": ["no_such_code"]}).status == 422
    retried = web.ask("POST", f"{place}/retry", {})
    assert (retried.status, retried.json["images"]) == (202, 1)
    assert wait_for_end(web, made["job"]["job_id"])["retry"] == 1
    assert web.ask("POST", f"{place}/resume").json["state"] == "complete"
    assert web.ask("POST", f"{place}/cancel").json["state"] == "complete"


def test_a_job_is_let_in_as_long_as_its_token_has_few(web, model, images, tokens, client):
    limits = Limits(jobs=1, images=2)
    token, record = tokens.create("pat", ("jobs:read", "jobs:write"), 1, limits)
    body = {"models": model.id, "pictures": [], "images": [{"image": uri} for uri in images]}

    def submit(key, count):
        asked = {**body, "images": body["images"][:count]}
        return web.ask("POST", "/v1/jobs", asked, token, Idempotency_Key=key)

    for _ in range(2):  # what was refused takes no place
        refused = submit("large", 3)
        assert (refused.status, refused.json["code"]) == (422, "job_too_large"), refused.body
    made = submit("small", 2)
    assert made.status == 201, made.body
    own = made.json["job"]["job_id"]
    with closing(Stream(web, own, token=token)) as stream:
        while event := stream.next():
            assert event[0] in ("progress", "end")
    with closing(Quotas(client.settings)) as quotas:
        quotas.reserve(record.id, "in-work", 1, (1, 2), once=False)
        refused = submit("next", 2)
        assert (refused.status, refused.json["code"]) == (429, "too_many_jobs")
        assert refused.headers["retry-after"] == "30"
        assert submit("small", 2).status == 200
        assert web.ask("POST", f"/v1/jobs/{own}/retry", {}, token).status == 429
        quotas.give_back(record.id, "in-work")
    assert submit("next", 2).status == 201
