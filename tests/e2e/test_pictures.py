"""A job's pictures as files that one can open: get, render, gallery, save, presign, thumbnails."""

import io
import json
import re
import shutil
import urllib.error
import urllib.request
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np
import pytest

from camfleet import AnswerTimeout, InvalidRequest, ObjectChanged, Outputs
from camfleet.contract.codec import decode_document
from camfleet.contract.messages import RenderRequest
from camfleet.contract.outputs import Drawing
from camfleet.contract.records import JobRecord
from camfleet.jobstore import keys, parquet
from camfleet.pictures.pictures import Pictures
from helpers.rows import blob, job, row
from helpers.samples import write_card
from helpers.terminals import in_terminal, width

pytestmark = pytest.mark.usefixtures("model")
KINDS = ("overlay", "heatmap", "raw")


class Sources(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            assert given["loading"] == "lazy"
            self.images.append(given["src"])
        if tag == "a":
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def pictured(client, model, folder, photos):
    """Give a job with all kinds of pictures and an image that failed."""
    broken = folder / "broken too.png"
    broken.write_bytes(b"no picture")
    made = client.submit(
        [*photos, broken],
        models=["patches"],
        target="top:2",
        pictures=["overlay", "heatmap", "raw", "thumbnail"],
        colormap="viridis",
        opacity=0.4,
        force=True,
    )
    assert made.wait(timeout=180).failed == 1
    return made


@pytest.fixture(scope="module")
def rows(pictured):
    return list(pictured.results(status=["ok", "no_evidence"]))


def image(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).astype(int)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_get_writes_every_picture_once_under_a_readable_name(run, client, pictured, rows, tmp_path):
    kinds = ("overlay", "heatmap", "raw", "thumbnail", "original")
    words = ["get", pictured.id, "--output", tmp_path / "out"]
    done = run(*words, *(word for kind in kinds for word in ("--kind", kind)), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["pictures"], said["fetched"], said["failed"]) == (len(rows) * 4 + 9,) * 2 + (0,)
    assert len(names(tmp_path / "out")) == said["pictures"]
    for result in rows:
        start = f"{result.image_uri.rpartition('/')[2].removesuffix('.png')}-{result.rank + 1}-"
        (overlay,) = (tmp_path / "out").glob(f"{start}*.overlay.jpg")
        assert overlay.read_bytes() == client.storage.get(result.overlay_uri).data
    photo = next((tmp_path / "out").glob("*-[0-9a-f]*[0-9a-f].png"))
    assert cv2.imread(str(photo)) is not None


def test_what_is_there_is_not_fetched_again_and_what_is_missing_is(run, pictured, rows, tmp_path):
    run("get", pictured.id, "--output", tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    gone = min(before)
    (tmp_path / gone).unlink()
    done = run("get", pictured.id, "--output", tmp_path)
    assert done.returncode == 0
    assert f"{len(rows)} pictures in {tmp_path}, 1 of them new" in done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name != gone)


def test_get_takes_the_filters_of_results(run, pictured, rows, tmp_path):
    label = rows[0].class_name
    done = run("get", pictured.id, "--output", tmp_path, "--class", label, "--rank", "0")
    assert done.returncode == 0
    wanted = [one for one in rows if one.class_name == label and one.rank == 0]
    assert len(names(tmp_path)) == len(wanted) > 0
    assert run("get", pictured.id, "--output", tmp_path, "--class", "no-such").returncode == 1


def test_what_cant_be_fetched_is_named_and_exits_with_one(run, client, model, folder, photos):
    place = folder / "changing"
    place.mkdir()
    paths = [shutil.copy(photos[number], place / f"{number}.png") for number in range(3)]
    made = client.submit(paths, models=["patches"])
    made.wait(timeout=180)
    results = list(made.results())
    client.storage.delete([results[0].overlay_uri.removeprefix(client.storage.uri(""))])
    (place / "1.png").write_bytes(photos[5].read_bytes())
    (place / "2.png").unlink()
    out = folder / "changed-out"
    words = ("--kind", "overlay", "--kind", "original")
    done = run("get", made.id, "--output", out, *words)
    assert done.returncode == 1
    assert re.search(r"0-1-.*\.overlay\.jpg: object_missing: ", done.stderr)
    assert "1.png has changed since it was explained" in done.stderr
    assert f"there is no file {place}/2.png on this machine" in done.stderr
    assert len(names(out)) == 3


def test_a_picture_that_the_job_did_not_write_is_refused_with_the_way_out(client, photos, tmp_path):
    made = client.submit(photos[0], models=["patches"], pictures=[])
    made.wait(timeout=180)
    with pytest.raises(InvalidRequest, match=rf"its pictures: none.*camfleet render {made.id}"):
        client.pictures.get(made.id, tmp_path)
    with pytest.raises(InvalidRequest, match="kinds is some of heatmap, overlay"):
        client.pictures.get(made.id, tmp_path, kinds="photo")
    with pytest.raises(InvalidRequest, match="can't be written"):
        client.pictures.get(made.id, photos[0], kinds="original")


def test_missing_results_are_said_and_exit_with_one(run, client, tmp_path):
    rng = np.random.default_rng(0)
    job(client.storage, "holes", [[row(1, blob(rng, (7, 7)))], None], 1)
    done = run("get", "holes", "--output", tmp_path)
    assert done.returncode == 1
    assert "1 part of the results missing" in done.stderr


@pytest.mark.parametrize("limits", [{}, {"max_side": 40}])
def test_what_is_drawn_anew_is_what_the_job_would_have_drawn(client, photos, tmp_path, limits):
    look = {"colormap": "inferno", "opacity": 0.7, **limits}
    made = client.submit(photos, models=["patches"], target="top:2", **look)
    made.wait(timeout=180)
    drawing = {"picture": "overlay", **look}
    saved = client.pictures.render(made.id, tmp_path, drawing=drawing)
    assert (saved.failed, saved.fetched) == (0, len(list(made.results())))
    saved = client.pictures.render(made.id, tmp_path, drawing={"picture": "heatmap"})
    for result in made.results():
        stem = result.image_uri.rpartition("/")[2].removesuffix(".png")
        for kind, uri in (("overlay.jpg", result.overlay_uri), ("heatmap.png", result.heatmap_uri)):
            (path,) = tmp_path.glob(f"{stem}-{result.rank + 1}-*.{kind}")
            ours, jobs = image(path.read_bytes()), image(client.storage.get(uri).data)
            assert ours.shape == jobs.shape
            assert abs(ours - jobs).max() <= (12 if kind == "overlay.jpg" else 1)
            assert abs(ours - jobs).mean() < 0.5


def test_maps_are_drawn_without_the_model_and_in_other_ways(run, client, pictured, rows, tmp_path):
    def drawn(*words):
        done = run("render", pictured.id, "--output", tmp_path, "--rank", "0", *words)
        assert done.returncode == 0, done.stderr
        return {path.name: image(path.read_bytes()) for path in tmp_path.iterdir()}

    overlays = drawn("--colormap", "jet", "--max-side", "32")
    assert {max(found.shape) for found in overlays.values()} == {32}
    large = {name: found for name, found in drawn().items() if name not in overlays}
    assert len(large) == len(overlays) == 9
    everything = drawn("--picture", "shapes", "--threshold", "otsu", "--components", "all")
    assert len([name for name in everything if name.endswith(".shapes.jpg")]) == 9
    heats = drawn("--picture", "heatmap", "--colormap", "turbo", "--max-side", "100")
    coloured = [found for name, found in heats.items() if name.endswith(".heatmap.png")]
    assert {found.shape for found in coloured} == {(67, 100, 3)}


def test_a_shape_outlines_the_region_of_the_results(client, model, folder, tmp_path):
    path = folder / "bright.png"
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[20:50, 30:70] = 255
    cv2.imwrite(str(path), picture)
    (result,) = client.explain(path, model="patches", shapes=["box"]).result()
    made = client.submit(path, models=["patches"])
    made.wait(timeout=180)
    client.pictures.render(made.id, tmp_path, drawing={"picture": "shapes"})
    drawn = image(next(tmp_path.iterdir()).read_bytes())
    yellow = (drawn[:, :, 1] > 180) & (drawn[:, :, 2] > 180) & (drawn[:, :, 0] < 110)
    ys, xs = np.nonzero(yellow)
    box = result.regions[0]
    found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    wanted = (box.left, box.top, box.left + box.width, box.top + box.height)
    assert np.abs(np.subtract(found, wanted)).max() <= 3


def test_nothing_is_drawn_twice_also_into_another_folder(client, pictured, tmp_path):
    client.pictures.render(pictured.id, tmp_path / "one", rank=0)
    nobody = SimpleNamespace(render=pytest.fail)
    without_workers = Pictures(client.storage, nobody, 0, client.clouds)
    saved = without_workers.render(pictured.id, tmp_path / "two", rank=0)
    assert saved.fetched == 9
    assert names(tmp_path / "one") == names(tmp_path / "two")


def test_a_photograph_that_is_gone_or_another_by_now_is_named(client, model, folder, photos):
    path = folder / "drawn-later.png"
    path.write_bytes(photos[0].read_bytes())
    made = client.submit(path, models=["patches"])
    made.wait(timeout=180)
    path.write_bytes(photos[1].read_bytes())
    saved = client.pictures.render(made.id, folder / "later")
    assert saved.failures[0].reason.endswith("drawn-later.png has changed since it was explained")
    path.unlink()
    saved = client.pictures.render(made.id, folder / "later")
    assert saved.failures[0].reason.startswith("image_not_found: ")
    heat = client.pictures.render(made.id, folder / "later", drawing={"picture": "heatmap"})
    assert (heat.failed, heat.pictures) == (0, 1)  # which needs no photograph


def test_rows_that_hold_what_they_cant_end_only_their_picture(client, photos, tmp_path):
    heat, geometry = np.ones((7, 7)), row(0, np.ones((7, 7))).geometry
    odd = [
        row(0, heat),
        row(1, heat, grid_height=3),
        row(2, heat, map_scale=float("nan")),
        row(3, heat * np.nan, raw_max=1.0),
        row(4, heat, geometry=msgspec.structs.replace(geometry, input_height=2**31 - 1)),
        row(5, heat, geometry=msgspec.structs.replace(geometry, input_height=0, input_width=0)),
        row(6, heat, grid_height=-7, grid_width=-7),
    ]
    job(client.storage, "odd-maps", [odd], 7)
    saved = client.pictures.render("odd-maps", tmp_path, drawing={"picture": "heatmap"})
    assert {int(path.name[0]) for path in tmp_path.iterdir()} >= {0}
    assert saved.pictures + saved.failed == 7
    assert all(one.reason.startswith("object_damaged: ") for one in saved.failures)
    assert {one.name[0] for one in saved.failures} >= {"1", "2", "3", "5"}


def test_a_part_that_was_written_anew_meanwhile_is_not_drawn_from(client, pictured):
    data = client.storage.get(keys.job(pictured.id)).data
    record = decode_document(data, JobRecord)
    (first, *_) = record.refs()
    request = RenderRequest(chunk=first, digest="0" * 64, drawing=Drawing(), rows=(0,))
    with pytest.raises(ObjectChanged, match="was written anew meanwhile"):
        client._rpc.render(request, 30)
    beyond = msgspec.structs.replace(first, model=7)
    with pytest.raises(InvalidRequest, match="has no job"):
        client._rpc.render(msgspec.structs.replace(request, chunk=beyond), 30)


def test_without_a_worker_a_drawing_ends_with_the_reason(client, pictured, tmp_path):
    with pytest.raises(AnswerTimeout):
        client.pictures.render(pictured.id, tmp_path, drawing={"opacity": 0.1}, timeout=1e-3)


def test_a_gallery_opens_from_its_folder_alone(run, client, pictured, rows, tmp_path):
    done = run("gallery", pictured.id, "--output", tmp_path / "gallery")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "gallery" / "index.html")
    moved = shutil.move(tmp_path / "gallery", tmp_path / "moved")
    text = (tmp_path / "moved" / "index.html").read_text()
    page = Sources(text)
    assert "script" not in page.tags
    assert len(page.images) == len(rows) + 9
    for source in {*page.images, *page.links}:
        assert cv2.imread(f"{moved}/{source}") is not None
    assert "<dt>failed</dt><dd>1</dd>" in text
    assert "image_unreadable" in text


def test_a_gallery_of_many_images_has_pages_that_lead_to_each_other(run, pictured, tmp_path):
    words = ("gallery", pictured.id, "--output", tmp_path, "--page-size", "4")
    assert run(*words).returncode == 0
    pages = [tmp_path / name for name in ("index.html", "page-2.html", "page-3.html")]
    assert {*tmp_path.glob("*.html")} == set(pages)
    assert [page.read_text().count("<article>") for page in pages] == [4, 4, 2]
    before = {path: path.read_bytes() for path in pages}
    again = run(*words)
    assert ", 0 of them new" in again.stderr
    assert {path: path.read_bytes() for path in pages} == before
    (tmp_path / "pictures" / "mine.jpg").write_bytes(b"mine")
    assert run("gallery", pictured.id, "--status", "failed", "--output", tmp_path).returncode == 0
    assert [path.name for path in tmp_path.glob("*.html")] == ["index.html"]
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["mine.jpg"]


def test_a_gallery_draws_the_overlays_that_a_job_did_not_write(client, photos, tmp_path):
    made = client.submit(photos[:2], models=["patches"], pictures=[], target="top:2")
    made.wait(timeout=180)
    other = client.submit(photos[2], models=["patches"])
    other.wait(timeout=180)
    saved = client.pictures.gallery([made.id, other.id], tmp_path)
    assert saved.failed == 0
    page = Sources((tmp_path / "index.html").read_text())
    assert len(page.images) == 2 * 3 + 2
    assert all((tmp_path / source).is_file() for source in page.images)


def test_explain_saves_its_pictures_and_the_photograph(run, client, photos, model, tmp_path):
    words = ("explain", photos[0], "--model", "patches", "--target", "top:2", "--save", tmp_path)
    done = run(*words, *(word for kind in KINDS for word in ("--picture", kind)))
    assert done.returncode == 0, done.stderr
    kinds = sorted(name.partition(".")[2] for name in names(tmp_path))
    assert kinds == sorted(["overlay.jpg", "heatmap.png", "raw.npy"] * 2 + ["png"])
    assert "7 pictures in" in done.stderr
    results = client.explain(photos[0], model="patches", target="top:2", pictures=KINDS).result()
    saved = client.pictures.save(results, tmp_path)
    assert (saved.pictures, saved.fetched) == (7, 0)
    raw = next(tmp_path.glob("*-1-*.raw.npy"))
    assert np.load(raw).ndim == 2


def test_an_image_that_was_uploaded_is_saved_under_its_own_name(run, photos, model, tmp_path):
    outside = shutil.copy(photos[0], tmp_path / "my photo.png")
    words = ("explain", outside, "--upload", "--model", "patches", "--save", tmp_path / "out")
    assert run(*words).returncode == 0
    assert all(name.startswith("my_photo-") for name in names(tmp_path / "out"))


def test_a_presigned_url_opens_without_credentials_until_its_time_is_over(run, client, pictured):
    words = ("results", pictured.id, "--presign", "600", "--json", "--status", "ok")
    lines = run(*words, "--column", "overlay_uri", "--column", "item_id").stdout.splitlines()
    url = json.loads(lines[0])["overlay_uri"]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert image(answer.read()).ndim == 3
    assert "X-Amz-Expires=600" in url
    assert "AWS4-HMAC-SHA256" in url
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("X-Amz-Expires=600", "X-Amz-Expires=601"), timeout=30)
    assert refused.value.code == 403
    (first, *_) = pictured.results(status="ok")
    urls = client.pictures.urls(first, 60)
    assert list(urls) == ["heatmap", "overlay", "raw", "thumbnail"]
    assert np.load(io.BytesIO(urllib.request.urlopen(urls["raw"], timeout=30).read())).ndim == 2


def test_explain_gives_presigned_urls_in_full(run, photos, model):
    words = ("explain", photos[0], "--model", "patches", "--presign", "60")
    said = run(*words).stdout
    urls = re.findall(r"^http\S+$", said, re.MULTILINE)
    assert len(urls) == 2
    assert all("X-Amz-Signature" in url and "**" not in url for url in urls)
    (found,) = json.loads(run(*words, "--json").stdout)
    assert urllib.request.urlopen(found["heatmap_uri"], timeout=30).status == 200


@pytest.mark.parametrize("seconds", [0, -1, 604801])
def test_a_url_is_valid_for_a_second_to_seven_days(run, client, pictured, seconds):
    with pytest.raises(InvalidRequest, match="1 to 604800 seconds"):
        client.pictures.presign(client.storage.uri("maps/x"), seconds)
    assert run("results", pictured.id, "--json", "--presign", seconds).returncode == 2


@pytest.mark.parametrize("uri", ["s3://of-others/a", "https://h/a", "file:///etc/passwd", "s3://"])
def test_only_objects_of_the_bucket_have_urls(client, uri):
    with pytest.raises(InvalidRequest):
        client.pictures.presign(uri, 60)
    with pytest.raises(InvalidRequest, match="is no object of"):
        client.pictures.presign(client.storage.uri(""), 60)


def test_a_table_for_people_has_no_presigned_urls(run, pictured):
    done = run("results", pictured.id, "--presign", "60")
    assert (done.returncode, "say --json or --output" in done.stderr) == (2, True)


def test_thumbnails_are_small_overlays_beside_the_others(client, pictured, rows, photos):
    for result in rows:
        small = image(client.storage.get(result.thumbnail_uri).data)
        assert max(small.shape) <= 256
    (alone,) = client.explain(photos[0], model="patches", pictures="thumbnail").result()
    assert alone.thumbnail_uri.endswith(".thumbnail.jpg")
    assert (alone.overlay_uri, alone.heatmap_uri) == (None, None)


def test_only_jobs_with_thumbnails_need_a_newer_version(client, pictured, photos):
    assert pictured.record().schema_version == 2
    plain = client.submit(photos[0], models=["patches"])
    plain.wait(timeout=180)
    record = plain.record()
    assert record.schema_version == 1
    (ref,) = record.refs()
    with parquet.open_results(client.storage.get(keys.results_part(record, ref)).data) as file:
        assert "thumbnail_uri" not in file._there
    data = client.storage.get(keys.job(plain.id)).data
    assert b"thumbnail" not in data
    assert Outputs(thumbnail=True).pictures == ("heatmap", "overlay", "thumbnail")


def test_the_bar_stays_in_its_line_and_what_others_wrote_steers_no_terminal(
    client, worker_environ, pictured, tmp_path
):
    shown = in_terminal(
        *("get", pictured.id, "--output", tmp_path), environ=worker_environ, columns=60
    )
    assert shown.returncode == 0
    bars = re.findall(r"fetching[^\r\n]*", shown.raw)
    assert bars
    assert all(width(drawn.replace("\x1b[K", "")) <= 60 for drawn in bars)
    name = "\x1b[31mred\u202e"
    lost = row(name, np.ones((7, 7)), overlay_uri=client.storage.uri("maps/gone\x1b.jpg"))
    job(client.storage, "steering", [[lost]], 1)
    shown = in_terminal("get", "steering", "--output", tmp_path, environ=worker_environ)
    assert shown.returncode == 1
    assert "object_missing" in shown.text
    assert not shown.steering


def test_an_original_of_the_bucket_and_rows_of_two_models_are_told_apart(
    client, model, folder, photos, tmp_path
):
    client.models.add(write_card(folder / "other-card", "second"), timeout=240)
    uri = client.upload(photos[0])
    made = client.submit(uri, models=["patches", "second"])
    made.wait(timeout=180)
    client.pictures.get(made.id, tmp_path, kinds=["overlay", "original"])
    found = sorted(names(tmp_path))
    assert len(found) == 3
    assert sum("-patches-1-" in name for name in found) == 1
    assert sum("-second-1-" in name for name in found) == 1
    only = client.pictures.get(made.id, tmp_path / "one", model="second")
    assert only.pictures == 1
