"""What comes after a job over HTTP, by a real worker: gallery, rows, pictures, report, findings."""

import json
import struct
import urllib.error
import urllib.request
from contextlib import closing

import numpy as np
import pytest
from msgspec.structs import replace

from camfleet.contract.errands import GalleryErrand, Results, id_of
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import keys, later_keys, parquet
from helpers.gateway import Stream, gateway
from helpers.waiting import wait_until

IMAGES = 9


@pytest.fixture(scope="module")
def tokens(client):
    return Tokens(client.storage)


@pytest.fixture(scope="module")
def web(worker_environ, folder, tokens):
    token, _ = tokens.create("galen", ("explain", "jobs:read", "jobs:write"), 1)
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture
def another(worker_environ, folder, web):
    """Start a second gateway, which has read nothing yet."""
    return lambda: gateway(worker_environ, folder, web.token)


@pytest.fixture(scope="module")
def job(web, model, client, photos):
    """Give the path of a job of nine photographs and one that is gone, of two classes each."""
    uris = [
        client.storage.put(f"gateway-gallery/{n}.png", path.read_bytes(), "text/html")
        for n, path in enumerate(photos[:IMAGES])
    ]
    images = [
        {"image": uri, "id": f"<b>{n}</b>", "label": f"l{n % 2}"} for n, uri in enumerate(uris)
    ]
    images.insert(4, {"image": client.storage.uri("gateway-gallery-gone.png"), "id": "gone"})
    body = {
        "models": model.id,
        "target": "top:2",
        "pictures": ["overlay", "thumbnail"],
        "images": images,
    }
    made = web.ask("POST", "/v1/jobs", body, Idempotency_Key="gallery")
    assert made.status == 201, made.body
    job_id = made.json["job"]["job_id"]
    with closing(Stream(web, job_id)) as stream:
        while stream.next():
            pass
    return f"/v1/jobs/{job_id}"


@pytest.fixture(scope="module")
def rows(job, client):
    """Give all rows of the job, with their names."""
    job_id = job.rpartition("/")[2]
    record = client.job(job_id).record()
    found = []
    for number in range(record.chunks):
        part = client.storage.get(keys.results_part(record, record.chunk(number, 0))).data
        found += [(f"{number}:{n}", row) for n, row in enumerate(parquet.read_results(part))]
    return found


@pytest.fixture(scope="module")
def indexed(web, job):
    wait_until(lambda: web.ask("GET", f"{job}/gallery").json["index"] == "done", 30)
    return f"{job}/gallery"


def until_done(web, path, get):
    wait_until(lambda: get(web.ask("GET", path).json)["state"] in ("done", "failed"), 60)
    found = get(web.ask("GET", path).json)
    assert found["state"] == "done", found
    return found


def test_before_there_is_an_index_pages_come_by_cursor_and_then_by_place(
    job, rows, indexed, client, web, another
):
    job_id = job.rpartition("/")[2]
    errand = GalleryErrand(results=Results(retry=0, chunks=3))
    place = later_keys.gallery(job_id, id_of(errand), "index.json")
    index = client.storage.get(place).data
    wanted = [name for name, _ in rows]
    found = web.ask("GET", f"{indexed}?limit=500").json
    assert [row["row"] for row in found["rows"]] == wanted
    assert (found["total"], found["matching"], found["first"]) == (19, 19, 0)
    client.storage.delete([place])
    try:
        with another() as other:  # which hasn't read the index yet
            names, cursor = [], "&cursor=0:0"
            while cursor is not None:
                page = other.ask("GET", f"{job}/gallery?limit=4{cursor}").json
                names += [row["row"] for row in page["rows"]]
                cursor = page["next"] and f"&cursor={page['next']}"
            assert names == wanted  # also where a worker has written the index meanwhile
            wait_until(lambda: other.ask("GET", f"{job}/gallery").json["index"] == "done", 30)
    finally:
        if not client.storage.exists(place):
            client.storage.put(place, index, "application/json")


def test_a_tile_says_what_its_row_says(web, indexed, rows):
    found = web.ask("GET", f"{indexed}?first=3&limit=4").json["rows"]
    for tile, (name, row) in zip(found, rows[3:7], strict=True):
        assert tile["row"] == name
        same = ("item_id", "rank", "status", "error_code", "class_index", "class_name", "label")
        assert [tile[key] for key in same] == [getattr(row, key) for key in same]
        assert tile["model"] == f"{row.model_id}@{row.model_version}"
        share = row.focus and row.focus.border_share
        for value, exact in ((tile["probability"], row.probability), (tile["border_share"], share)):
            assert (value is None) is (exact is None)
            assert value is None or abs(value - exact) < 1e-6


def test_pages_are_filtered_and_sorted(web, indexed, rows):
    def names(query):
        return [row["row"] for row in web.ask("GET", f"{indexed}?{query}").json["rows"]]

    assert names("status=failed") == [name for name, row in rows if row.status == "failed"]
    assert names("rank=0&label=l1") == [
        name for name, row in rows if row.rank == 0 and row.label == "l1"
    ]
    assert names("code=image_not_found") == names("status=failed")
    seen = [row for row in rows if row[1].probability is not None]
    wanted = sorted(seen, key=lambda pair: -pair[1].probability)
    got = web.ask("GET", f"{indexed}?sort=-probability&first=2&limit=5").json["rows"]
    assert [row["probability"] for row in got] == pytest.approx(
        [row.probability for _, row in wanted[2:7]]
    )
    facets = web.ask("GET", f"{indexed}/facets?rank=0").json
    assert {one["name"]: one["rows"] for one in facets["statuses"]} == {"ok": 9, "failed": 1}
    assert sum(facets["probability"]) == 9


@pytest.mark.parametrize(
    "query",
    [
        "limit=501",
        "first=-1",
        "cursor=0",
        "cursor=9:0",
        "rank=a",
        "status=no",
        "sort=item_id",
        "min_probability=2",
        "no=1",
    ],
)
def test_what_is_no_page_of_a_gallery_is_refused(web, indexed, query):
    found = web.ask("GET", f"{indexed}?{query}")
    assert found.status == 422
    assert ("all pictures by /exports" in found.json["detail"]) is query.startswith("limit")


def test_an_images_rows_come_together_with_their_maps(web, job, rows):
    name, row = next((name, row) for name, row in rows if row.rank == 1)
    found = web.ask("GET", f"{job}/rows/{name}").json
    part, number = map(int, name.split(":"))
    assert (found["part"], found["row"]) == (part, number - 1)
    assert [one["rank"] for one in found["rows"]] == [0, 1]
    assert found["rows"][1]["map"] == pytest.approx(row.map)
    assert found["pictures"][1] == ["overlay", "thumbnail"]
    for wrong, status in (("0:999", 404), ("99:0", 404), ("x", 422), ("-1:0", 422)):
        assert web.ask("GET", f"{job}/rows/{wrong}").status == status


def test_raw_maps_of_a_part_are_those_of_its_rows(web, job, rows):
    answered = web.ask("GET", f"{job}/maps?part=1")
    assert answered.headers["content-type"] == "application/vnd.camfleet.maps"
    (length,) = struct.unpack("<I", answered.body[:4])
    assert (length + 4) % 8 == 0
    head = json.loads(answered.body[4 : 4 + length])
    values = np.frombuffer(answered.body[4 + length :], "<f2")
    own = [row for name, row in rows if name.startswith("1:")]
    assert [one["row"] for one in head["rows"]] == [n for n, row in enumerate(own) if row.map]
    for one in head["rows"]:
        row = own[one["row"]]
        cells = values[one["start"] : one["start"] + one["height"] * one["width"]]
        assert cells.tolist() == pytest.approx(row.map)
        assert one["geometry"][:2] == [row.geometry.image_height, row.geometry.image_width]
        assert (one["scale"], one["raw_max"]) == (row.map_scale, row.raw_max)
    again = web.ask("GET", f"{job}/maps?part=1", If_None_Match=answered.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("kind", ["overlay", "thumbnail"])
def test_a_stored_picture_comes_by_url_or_as_bytes(web, job, client, rows, kind):
    name, row = rows[0]
    stored = client.storage.get(getattr(row, f"{kind}_uri")).data
    bytes_ = web.ask("GET", f"{job}/rows/{name}/{kind}?stream=true")
    assert (bytes_.status, bytes_.body) == (200, stored)
    assert bytes_.headers["content-type"] == "image/jpeg"
    assert bytes_.headers["x-content-type-options"] == "nosniff"
    assert bytes_.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    url = web.ask("GET", f"{job}/rows/{name}/{kind}")
    assert url.status == 302
    with urllib.request.urlopen(url.headers["location"]) as answer:
        assert answer.read() == stored
    assert web.ask("GET", f"{job}/rows/{name}/heatmap").status == 404
    assert web.ask("GET", f"{job}/rows/{name}/raw").status == 404


def test_a_photograph_is_served_as_what_it_is_whatever_it_was_called(web, job, rows, client):
    name, row = rows[0]
    answered = web.ask("GET", f"{job}/rows/{name}/original?stream=true")
    assert answered.headers["content-type"] == "image/png"  # it was written as text/html
    assert answered.body == client.storage.get(row.image_uri).data
    url = web.ask("GET", f"{job}/rows/{name}/original").headers["location"]
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-type"] == "image/png"


def test_a_photograph_that_has_changed_is_not_shown(web, job, rows, client):
    name, row = rows[1]
    before = client.storage.get(row.image_uri).data
    try:
        client.storage.put(row.image_uri, before + b"more", "image/png")
        for query in ("", "?stream=true"):
            refused = web.ask("GET", f"{job}/rows/{name}/original{query}")
            assert (refused.status, refused.json["code"]) == (422, "image_unreadable")
            assert "has changed since it was explained" in refused.json["detail"]
    finally:
        client.storage.put(row.image_uri, before, "image/png")
    assert web.ask("GET", f"{job}/rows/{name}/original?stream=true").body == before


def test_workers_make_small_photographs_and_draw_maps_anew(web, job, rows):
    name, failed = rows[0][0], next(name for name, row in rows if row.status == "failed")
    for path in ("photo?side=160", "drawing?colormap=inferno&opacity=0.25&max_side=64"):
        found = web.ask("GET", f"{job}/rows/{name}/{path}")
        assert (found.status, found.headers["content-type"]) == (200, "image/jpeg"), found.body
        assert found.body == web.ask("GET", f"{job}/rows/{name}/{path}").body
        assert web.ask("GET", f"{job}/rows/{failed}/{path}").status == 404
    outlines = web.ask("GET", f"{job}/rows/{name}/drawing?picture=shapes&threshold=otsu")
    assert outlines.status == 200
    alone = web.ask("GET", f"{job}/rows/{name}/drawing?picture=heatmap")
    assert alone.headers["content-type"] == "image/png"
    for wrong in (
        *("photo?side=5000", "drawing?picture=shapes&threshold=no"),
        *("drawing?picture=shapes&threshold=7", "drawing?threshold=0.5"),
    ):
        found = web.ask("GET", f"{job}/rows/{name}/{wrong}")
        assert found.status == 422
    assert "threshold does nothing: it's for shapes" in found.json["detail"]


def test_a_report_is_made_on_demand_and_served_in_a_sandbox(web, job):
    assert web.ask("GET", f"{job}/report").json == {
        "made": {
            "id": None,
            "state": "none",
            "note": None,
            "share": None,
            "asked_by": None,
            "asked_at": None,
        },
        "files": [],
    }
    assert web.ask("GET", f"{job}/report/index.html").status == 404
    assert web.ask("GET", f"{job}/findings").status == 404
    asked = web.ask("POST", f"{job}/report")
    assert (asked.status, asked.json["asked_by"]) == (202, "galen")
    assert asked.headers["location"] == f"{job}/report"
    assert web.ask("POST", f"{job}/gallery").headers["location"] == f"{job}/gallery"
    until_done(web, f"{job}/report", lambda found: found["made"])
    page = web.ask("GET", f"{job}/report/index.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert "allow-scripts" not in page.headers["content-security-policy"]
    assert web.ask("GET", f"{job}/report/report.json").json["job_id"] == job.rpartition("/")[2]
    assert web.ask("GET", f"{job}/report/..%2Fjob.json").status == 404
    assert web.ask("GET", f"{job}/report/job.json").status == 404


def test_two_models_or_jobs_are_compared(web, job, model, client, photos):
    job_id = job.rpartition("/")[2]
    asked = web.ask("POST", f"{job}/comparisons", {"other": job_id, "limit": 0.25})
    assert asked.status == 202, asked.body
    place = f"{job}/comparisons/{asked.json['made']['id']}"
    assert asked.headers["location"] == place
    again = web.ask("POST", f"{job}/comparisons", {"other": job_id, "limit": 0.25})
    assert again.json["made"]["id"] == asked.json["made"]["id"]
    made = until_done(web, place, lambda found: found["made"])
    assert made["note"].startswith("undecidable")
    listed = web.ask("GET", f"{job}/comparisons").json["comparisons"]
    assert [(one["other"], one["limit"], len(one["files"])) for one in listed] == [
        (job_id, 0.25, 3)
    ]
    found = web.ask("GET", f"{place}/comparison.json").json
    assert found["one"]["model"] == listed[0]["model"] == f"{model.id}@{model.version}"
    assert (
        web.ask("GET", f"{place}/index.html")
        .headers["content-security-policy"]
        .startswith("sandbox")
    )
    for body in ({"other": job_id, "model": "nothing"}, {"other": job_id, "limit": 2}, {}):
        assert web.ask("POST", f"{job}/comparisons", body).status == 422
    assert web.ask("POST", f"{job}/comparisons", {"other": "no-such-job"}).status == 404
    assert web.ask("GET", f"{job}/comparisons/{'0' * 32}").status == 404
    assert web.ask("GET", f"{job}/comparisons/x").status == 404


def test_a_comparison_of_two_owners_is_the_admins_alone(web, job, model, client, tokens, photos):
    """It shows rows of both jobs."""
    bob, _ = tokens.create("bob", ("explain", "jobs:read", "jobs:write"), 1)
    root, _ = tokens.create("root", ("admin",), 1)
    uri = client.storage.put("gateway-gallery-of-bob.png", photos[0].read_bytes(), "image/png")
    body = {"models": model.id, "target": "top:2", "images": [{"image": uri}]}
    made = web.ask("POST", "/v1/jobs", body, token=bob, Idempotency_Key="compared")
    other = made.json["job"]["job_id"]
    with closing(Stream(web, other, token=bob)) as stream:
        while stream.next():
            pass
    asked = web.ask("POST", f"{job}/comparisons", {"other": other}, token=root)
    place = f"{job}/comparisons/{asked.json['made']['id']}"
    wait_until(lambda: web.ask("GET", place, token=root).json["made"]["state"] == "done", 60)
    for path in (place, f"{place}/comparison.json", f"{place}/index.html"):
        assert web.ask("GET", path, token=root).status == 200
        assert web.ask("GET", path).status == web.ask("GET", path, token=bob).status == 404
    shown = web.ask("GET", f"{job}/comparisons").json["comparisons"]
    assert other not in [one["other"] for one in shown]


def test_nothing_of_it_is_anybody_elses(web, job, rows, tokens, indexed):
    bob, _ = tokens.create("bob", ("explain", "jobs:read", "jobs:write"), 1)
    name = rows[0][0]
    for path in (
        *("gallery", "gallery/facets", f"rows/{name}", "maps?part=0", f"rows/{name}/photo"),
        *(f"rows/{name}/overlay", f"rows/{name}/original", f"rows/{name}/drawing"),
        *("report", "report/index.html", "findings", "comparisons"),
    ):
        found = web.ask("GET", f"{job}/{path}", token=bob)
        assert (found.status, found.json["code"]) == (404, "unknown_job"), path
    for path in ("gallery", "report"):
        assert web.ask("POST", f"{job}/{path}", token=bob).status == 404
    own = job.rpartition("/")[2]
    assert web.ask("POST", f"{job}/comparisons", {"other": own}, token=bob).status == 404
    reader, _ = tokens.create("galen", ("jobs:read",), 1)
    assert web.ask("POST", f"{job}/report", token=reader).status == 403


def test_a_row_that_names_what_isnt_its_own_opens_nothing(job, client, another):
    """Results parts lie in the bucket: whoever writes there mustn't read all that a gateway can."""
    job_id = job.rpartition("/")[2]
    record = client.job(job_id).record()
    key = keys.results_part(record, record.chunk(2, 0))
    before = client.storage.get(key).data
    secret = next(client.storage.keys("tokens/"))
    forged = [
        replace(row, overlay_uri=client.storage.uri(secret), image_uri=client.storage.uri(secret))
        for row in parquet.read_results(before)
    ]
    client.storage.put(key, parquet.write_results(forged, 0, 2), "application/octet-stream")
    try:
        with another() as other:
            for path in ("overlay?stream=true", "overlay", "original?stream=true", "original"):
                assert other.ask("GET", f"{job}/rows/2:0/{path}").status in (404, 422), path
    finally:
        client.storage.put(key, before, "application/octet-stream")


def test_uploads_by_a_url_take_what_was_announced_once(web, photos, client, model):
    data = photos[0].read_bytes()
    asked = {"content_type": "image/png", "bytes": len(data)}
    place = web.ask("POST", "/v1/uploads", asked).json

    def put(data, **headers):
        request = urllib.request.Request(
            place["put_url"], data, {**place["headers"], **headers}, method="PUT"
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert put(data, **{"Content-Type": "text/html"}) == 403
    assert put(data) == 200
    assert client.storage.get(place["uri"]).data == data
    assert put(data[::-1]) in (403, 409, 412)
    assert client.storage.get(place["uri"]).data == data
    body = {"image": place["uri"], "model": model.id, "pictures": []}
    assert web.ask("POST", "/v1/explain", body).status == 200
    for wrong in (
        {"content_type": "text/html", "bytes": 1},
        {"content_type": "image/svg+xml", "bytes": 1},
    ):
        assert web.ask("POST", "/v1/uploads", wrong).status == 415
    for wrong in (
        {"content_type": "image/png", "bytes": 0},
        {"content_type": "image/png", "bytes": 2**40},
    ):
        assert web.ask("POST", "/v1/uploads", wrong).status == 422


def test_a_dry_run_says_what_a_submit_would_find(web, model, client, job):
    prefix = client.storage.uri("gateway-gallery/")
    found = web.ask("POST", "/v1/dry-runs", {"models": model.id, "source": prefix}).json
    assert (found["items"], found["sampled"], found["unreadable"]) == (9, 9, [])
    text = b"image_uri\nfile:///etc/passwd\n"
    manifest = web.ask("POST", "/v1/uploads", text, Content_Type="text/csv").json["uri"]
    refused = web.ask("POST", "/v1/dry-runs", {"models": model.id, "source": manifest})
    assert (refused.status, refused.json["code"]) == (422, "source_forbidden"), refused.body


def test_reviews_are_admins(web, tokens):
    assert web.ask("GET", "/v1/reviews").status == 403
    admin, _ = tokens.create("root", ("admin",), 1)
    assert web.ask("GET", "/v1/reviews", token=admin).status == 200
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/history", None),
        ("POST", "/run", {}),
        ("POST", "/accept", {"reason": "r"}),
        ("POST", "/pause", {"paused": True}),
        ("GET", "/runs/0123456789abcdef/index.html", None),
    ):
        found = web.ask(method, f"/v1/reviews/nothing{path}", body, token=admin)
        assert (found.status, found.json["code"]) == (404, "not_found"), path


def test_a_broken_index_is_made_anew(job, indexed, client, another):
    job_id = job.rpartition("/")[2]
    head = next(key for key in client.storage.keys(later_keys.gallery(job_id)) if "index" in key)
    client.storage.put(head, b"{}", "application/json")
    with another() as other:
        wait_until(lambda: other.ask("GET", f"{job}/gallery").json["index"] == "done", 30)
    assert b'"rows"' in client.storage.get(head).data
