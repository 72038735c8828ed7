"""Exports over HTTP, by a real worker: the files of `camfleet export` and the pictures of a job."""

import io
import json
import urllib.request
import zipfile
from contextlib import closing
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys, later_keys, parquet
from helpers.gateway import Stream, gateway
from helpers.waiting import wait_until

IMAGES = 6
FORMATS = ("coco", "coco-results", "label-studio", "voc", "yolo", "cvat", "fiftyone")
ALL = ("explain", "jobs:read", "jobs:write")


@pytest.fixture(scope="module")
def tokens(client):
    return Tokens(client.storage)


@pytest.fixture(scope="module")
def web(worker_environ, folder, tokens):
    token, _ = tokens.create("exa", ALL, 1)
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="module")
def submit(web, model, client, photos):
    """Give a function that runs a job of six photographs and one that is gone."""
    uris = [
        client.storage.put(f"gateway-exports/{n}.png", path.read_bytes(), "image/png")
        for n, path in enumerate(photos[:IMAGES])
    ]
    images = [{"image": uri, "id": f"photo {n}"} for n, uri in enumerate(uris)]
    images.append({"image": client.storage.uri("gateway-exports-gone.png"), "id": "gone"})

    def submit(name, **options):
        body = {"models": model.id, "target": "top:2", "images": images, **options}
        made = web.ask("POST", "/v1/jobs", body, Idempotency_Key=f"exports-{name}")
        assert made.status == 201, made.body
        job_id = made.json["job"]["job_id"]
        with closing(Stream(web, job_id)) as stream:
            while stream.next():
                pass
        return job_id

    return submit


@pytest.fixture(scope="module")
def job(submit):
    return submit("job", shapes=["polygon", "rle"], pictures=["overlay", "heatmap"])


@pytest.fixture(scope="module")
def order(web):
    """Give a function that orders an export and waits for it; it returns the last state."""

    def order(job_id, expect="done", **body):
        asked = web.ask("POST", f"/v1/jobs/{job_id}/exports", body)
        assert asked.status == 202, asked.body
        place = asked.headers["location"]
        assert place == f"/v1/jobs/{job_id}/exports/{asked.json['made']['id']}"

        def state():
            return web.ask("GET", place).json["made"]["state"]

        wait_until(lambda: state() in ("done", "failed"), 60)
        found = web.ask("GET", place).json
        assert found["made"]["state"] == expect, found
        return place, found

    return order


def files_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(web, place):
    found = web.ask("GET", f"{place}/archive?stream=true")
    assert (found.status, found.headers["content-type"]) == (200, "application/zip"), found.body
    return files_of(found.body)


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_holds_the_files_that_the_command_writes(
    web, job, order, client, tmp_path, form
):
    heat = form in ("label-studio", "fiftyone")
    place, told = order(job, format=form, rank=[0], **({"heat": True} if heat else {}))
    written = client.export(job, form, tmp_path / form, rank=0, heat=heat)
    folder = tmp_path / form
    assert archive_of(web, place) == {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    note = told["made"]["note"]
    assert f"{written.count.images} images, {written.count.annotations} annotations" in note
    assert "1 images failed: failed.jsonl says why" in note


def test_an_archive_comes_by_a_url_of_the_bucket_too_with_its_name(web, job, order):
    place, told = order(job, format="coco")
    url = web.ask("GET", f"{place}/archive")
    assert url.status == 302
    assert url.headers["location"].partition("?")[0].endswith(f"/{job}-coco.zip")
    with urllib.request.urlopen(url.headers["location"]) as answer:
        data = answer.read()
    assert len(data) == told["bytes"]
    assert files_of(data) == archive_of(web, place)
    head = web.ask("HEAD", f"{place}/archive?stream=true")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")


def test_the_same_order_is_made_once_and_again_where_its_archive_was_deleted(
    web, job, order, client
):
    place, told = order(job, format="voc", shape="box")
    assert order(job, format="voc", shape="box") == (place, told)
    key = next(client.storage.keys(later_keys.export(job, told["made"]["id"])))
    client.storage.delete([key])
    assert web.ask("GET", place).json["bytes"] is None
    gone = web.ask("GET", f"{place}/archive")
    assert (gone.status, gone.json["code"]) == (404, "not_found")
    again, made = order(job, format="voc", shape="box")
    assert (again, made["bytes"]) == (place, told["bytes"])


def test_an_export_is_deleted_with_its_archive_by_its_owner_alone(
    web, submit, order, client, tokens
):
    of = submit("deleted", shapes=["polygon"])
    place, told = order(of, format="coco")
    prefix = later_keys.export(of, told["made"]["id"])
    assert len(list(client.storage.keys(prefix))) == 1
    stranger, _ = tokens.create("exs", ALL, 1)
    reader, _ = tokens.create("exa", ("jobs:read",), 1)
    assert web.ask("DELETE", place, token=stranger).status == 404
    assert web.ask("DELETE", place, token=reader).status == 403
    gone = web.ask("DELETE", place)
    assert (gone.status, gone.body) == (204, b"")
    assert list(client.storage.keys(prefix)) == []
    assert web.ask("GET", f"/v1/jobs/{of}/exports").json == {"exports": []}
    for method, path in (("DELETE", place), ("GET", place), ("GET", f"{place}/archive")):
        assert web.ask(method, path).status == 404
    report = web.ask("POST", f"/v1/jobs/{of}/report").json["id"]
    assert web.ask("DELETE", f"/v1/jobs/{of}/exports/{report}").status == 404
    assert order(of, format="coco")[1]["bytes"] == told["bytes"]


def test_a_job_keeps_its_20_newest_archives(web, submit, order, client):
    of = submit("many", shapes=["polygon"])
    older = [later_keys.export(of, f"{number:032x}", "older.zip") for number in range(20)]
    for key in older:
        client.storage.put(key, b"PK", "application/zip")
    place, told = order(of, format="coco")
    own = list(client.storage.keys(later_keys.export(of, told["made"]["id"])))
    left = set(client.storage.keys(later_keys.export(of)))
    assert len(left) == 20
    assert left == {*own, *older} - {next(key for key in older if key not in left)}
    assert archive_of(web, place)


def test_filters_labels_and_a_label_config_are_taken(web, job, order, client):
    card = client.models.card(client.job(job).record().models[0].digest)
    first, second = (card.class_name(index) for index in (0, 1))
    place, _ = order(job, format="coco", labels={first: "thing", second: None}, rank=[0])
    assert b'"thing"' in archive_of(web, place)["annotations-00001.json"]
    config = (
        '<View><Image name="i" value="$photo"/><Choices name="c" toName="i">'
        '<Choice value="x"/></Choices></View>'
    )
    place, told = order(job, expect="failed", format="label-studio", config=config)
    assert "has no label" in told["made"]["note"]
    place, _ = order(job, format="label-studio", config=config.replace('<Choice value="x"/>', ""))
    assert b'"photo"' in archive_of(web, place)["tasks-00001.json"]
    place, told = order(job, format="coco", where={}, status=["failed"])
    assert told["made"]["note"].startswith("0 images")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "format"),
        ({"format": "doc"}, "coco"),
        ({"format": "coco", "class": ["no such class"]}, "no such class"),
        ({"format": "coco", "class_": ["a"]}, "class_"),
        ({"format": "coco", "heat": True}, "heat does nothing in the format coco"),
        ({"format": "voc", "shape": "rle"}, "takes --shape box"),
        ({"format": "voc", "per_file": 10_000}, "per_file does nothing in the format voc"),
        ({"format": "fiftyone", "root": "s3://b"}, "root does nothing in the format fiftyone"),
        ({"format": "coco", "per_file": 0}, "per_file"),
        ({"format": "label-studio", "prefix": "a"}, "prefix is for names below a --root"),
        ({"format": "coco", "config": "/etc/passwd"}, "config is a label config"),
        ({"format": "coco-results", "config": "/etc/passwd"}, "config is a label config"),
        ({"format": "label-studio", "config": "/etc/passwd"}, "not XML"),
        ({"format": "coco", "labels": {"nobody": "x"}}, "no class"),
        ({"format": "coco", "where": {"nothing": ["x"]}}, "kept no column"),
        ({"format": "coco", "pictures": ["overlay"]}, "for the format pictures"),
        ({"format": "pictures"}, "say which; job"),
        ({"format": "pictures", "pictures": ["thumbnail"]}, "wrote no thumbnail"),
        ({"format": "pictures", "pictures": ["original"]}, "original"),
        ({"format": "pictures", "pictures": ["overlay"], "heat": True}, "heat is not for"),
        ({"format": "coco", "min_probability": 2}, "min_probability"),
        ({"format": "coco", "status": ["fine"]}, "no_evidence"),
    ],
    ids=str,
)
def test_what_doesnt_suit_is_refused_at_once(web, job, body, words):
    found = web.ask("POST", f"/v1/jobs/{job}/exports", body)
    assert (found.status, found.json["code"]) == (422, "invalid_request"), found.body
    assert words in found.json["detail"]


def test_options_that_would_fill_the_bucket_are_refused(web, job):
    body = {"format": "coco", "item": ["x" * 1000] * 2000}
    found = web.ask("POST", f"/v1/jobs/{job}/exports", body)
    assert (found.status, found.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("pack", [False, True], ids=["single", "packed"])
def test_pictures_of_a_filter_come_as_an_archive(web, job, submit, order, client, tmp_path, pack):
    of = submit("packed", pictures=["overlay", "heatmap"], pack=True) if pack else job
    place, told = order(of, format="pictures", pictures=["overlay", "heatmap"], rank=[1])
    client.pictures.get(of, tmp_path, kinds=["overlay", "heatmap"], rank=1)
    found = archive_of(web, place)
    assert found == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(found) == 2 * IMAGES
    assert told["made"]["note"].startswith(f"{2 * IMAGES} pictures; ")


@pytest.fixture(scope="module")
def gallery(web, job):
    """Give a function that returns the rows which filters of the gallery leave, once it's there."""

    def rows(**filters):
        query = urlencode({"limit": 500, **filters}, doseq=True)

        def page():
            return web.ask("GET", f"/v1/jobs/{job}/gallery?{query}").json

        wait_until(lambda: page()["index"] == "done", 60)
        found = page()
        assert found["matching"] == len(found["rows"])
        return found["rows"]

    return rows


@pytest.mark.parametrize(
    "names",
    [("class",), ("rank",), ("status", "model"), ("min_probability",), ("max_probability", "rank")],
    ids=",".join,
)
def test_what_the_filters_of_a_gallery_leave_is_what_an_archive_has(
    web, job, order, gallery, names
):
    every = [row for row in gallery() if row["status"] != "failed"]
    probabilities = [row["probability"] for row in every]
    middle = (min(probabilities) + max(probabilities)) / 2
    given = {
        "class": [every[0]["class_name"]],
        "rank": [1],
        "status": ["no_evidence"],
        "model": [every[0]["model"]],
        "min_probability": middle,
        "max_probability": middle,
    }
    filters = {name: given[name] for name in names}
    left = [row for row in gallery(**filters) if row["status"] != "failed"]
    assert 0 < len(left) <= len(every)
    asked = {"status": ["ok", "no_evidence"], "column": ["item_id", "rank"], **filters}
    query = urlencode(asked, doseq=True)
    lines = web.ask("GET", f"/v1/jobs/{job}/results?{query}").body.splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted((row["item_id"], row["rank"]) for row in rows) == sorted(
        (row["item_id"], row["rank"]) for row in left
    )
    place, told = order(job, format="pictures", pictures=["overlay"], **filters)
    assert len(archive_of(web, place)) == len(left)
    assert told["made"]["note"].startswith(f"{len(left)} picture")


def test_pictures_that_are_gone_or_that_forged_rows_name_are_listed(
    web, submit, order, client, model
):
    of = submit("forged", pictures=["overlay"])
    record = client.job(of).record()
    key = keys.results_part(record, record.chunk(0, 0))
    secret = client.storage.uri(next(client.storage.keys("tokens/")))
    first, *others = parquet.read_results(client.storage.get(key).data)
    client.storage.delete([others[0].overlay_uri.removeprefix(client.storage.uri(""))])
    forged = [replace(first, overlay_uri=secret), *others]
    client.storage.put(key, parquet.write_results(forged, 0, 2), "application/octet-stream")
    place, told = order(of, format="pictures", pictures=["overlay"])
    found = archive_of(web, place)
    assert "2 can't be had: failed.jsonl says why" in told["made"]["note"]
    lines = found.pop("failed.jsonl").decode()
    assert "names no overlay of its own" in lines
    assert "object_missing" in lines
    assert all(data.startswith(b"\xff\xd8\xff") for data in found.values())
    assert len(found) == 2 * IMAGES - 2


def test_a_lost_part_is_a_failed_export_that_says_so(web, submit, order, client):
    of = submit("lost")
    record = client.job(of).record()
    client.storage.delete([keys.results_part(record, record.chunk(1, 0))])
    _, told = order(of, expect="failed", format="label-studio")
    assert f"camfleet resume {of}" in told["made"]["note"]
    assert told["bytes"] is None


def test_a_job_that_runs_has_no_export_yet(web, client, photos, model):
    made = client.submit(photos[:2], models=[model.id], priority=1, pictures=[])
    made.cancel()
    admin, _ = Tokens(client.storage).create("exb", (*ALL, "admin"), 1)
    path = f"/v1/jobs/{made.id}/exports"
    found = web.ask("POST", path, {"format": "label-studio"}, token=admin)
    assert found.status == 202  # of what a cancelled job has
    made.wait()
    assert web.ask("GET", path, token=admin).json["exports"][0]["format"] == "label-studio"


def test_exports_are_listed_and_nobody_elses(web, job, order, tokens):
    place, _ = order(job, format="yolo")
    listed = web.ask("GET", f"/v1/jobs/{job}/exports").json["exports"]
    assert listed[0]["format"] == "yolo"
    assert listed[0]["made"]["asked_by"] == "exa"
    times = [one["made"]["asked_at"] for one in listed]
    assert times == sorted(times, reverse=True)
    bob, _ = tokens.create("bob", ALL, 1)
    for path in (f"/v1/jobs/{job}/exports", place, f"{place}/archive"):
        found = web.ask("GET", path, token=bob)
        assert (found.status, found.json["code"]) == (404, "unknown_job")
    assert web.ask("POST", f"/v1/jobs/{job}/exports", {"format": "voc"}, token=bob).status == 404
    reader, _ = tokens.create("exa", ("jobs:read",), 1)
    refused = web.ask("POST", f"/v1/jobs/{job}/exports", {"format": "voc"}, token=reader)
    assert refused.status == 403
    for name in ("0" * 32, "x", "..", later_keys.gallery(job).rpartition("/")[2] or "y"):
        assert web.ask("GET", f"/v1/jobs/{job}/exports/{name}").status == 404
    report = web.ask("POST", f"/v1/jobs/{job}/report").json["id"]
    assert web.ask("GET", f"/v1/jobs/{job}/exports/{report}").status == 404
