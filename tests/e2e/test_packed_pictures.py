"""Packed pictures from end to end: submit --pack, then every command that has to do with them."""

import csv
import json
import re
import subprocess
import zipfile

import cv2
import numpy as np
import pytest

from camfleet import InvalidRequest
from camfleet.jobstore import keys
from helpers.samples import write_card, write_photos

MODEL = "packs"
KINDS = ("overlay", "heatmap", "raw", "thumbnail")
_EACH = [word for kind in KINDS for word in ("--kind", kind)]


@pytest.fixture(scope="module")
def images(client, folder):
    client.models.add(write_card(folder / "packs-card", MODEL), timeout=240)
    photos = write_photos(folder / "packed photos", 6)
    broken = folder / "packed photos" / "broken.png"
    broken.write_bytes(b"no picture")
    return [*photos, broken]


@pytest.fixture(scope="module")
def jobs(run, client, images):
    """Give the ids of a packed job and of the same with single objects."""
    words = ["submit", *images, "--model", MODEL, "--target", "top:2", "--watch"]
    pictures = [word for kind in KINDS for word in ("--picture", kind)]
    found = []
    for more in (["--pack"], []):
        done = run(*words, *pictures, *more)
        assert done.returncode == 3, done.stderr  # one image fails
        found.append(done.stdout.split()[0])
    return found


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def readable(name):
    """Return a name without what tells a picture from others: it's another one when packed."""
    return re.sub(r"-[0-9a-f]{10}\.", ".", name)


def test_get_writes_the_same_files_of_a_packed_job(run, jobs, tmp_path):
    for job_id, name in zip(jobs, ("packed", "single"), strict=True):
        done = run("get", job_id, "--output", tmp_path / name, *_EACH, "--kind", "original")
        assert done.returncode == 0, done.stderr
        assert "10 rows without such a picture" not in done.stderr
    packed, single = (files(tmp_path / name) for name in ("packed", "single"))
    assert len(packed) == len(single) == 12 * len(KINDS) + 6
    assert {readable(name): data for name, data in packed.items()} == {
        readable(name): data for name, data in single.items()
    }
    again = run("get", jobs[0], "--output", tmp_path / "packed", *_EACH)
    assert f"{12 * len(KINDS)} pictures in {tmp_path}/packed, 0 of them new" in again.stderr


def test_get_of_a_packed_job_takes_the_filters(run, jobs, tmp_path):
    done = run("get", jobs[0], "--output", tmp_path, "--rank", "1", "--image", "photo-02", "--json")
    assert json.loads(done.stdout)["pictures"] == 1
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("photo-02-2-")
    assert cv2.imread(str(path)) is not None


def test_a_gallery_shows_packed_overlays(run, jobs, tmp_path):
    pages = []
    for job_id, name in zip(jobs, ("packed", "single"), strict=True):
        done = run("gallery", job_id, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        pages.append(sorted(files(tmp_path / name / "pictures").values()))
    assert len(pages[0]) == 12 + 6
    assert pages[0] == pages[1]


def test_packed_jobs_are_drawn_anew_reported_and_verified_as_others(run, jobs, tmp_path):
    for words in (
        ("render", jobs[0], "--output", tmp_path / "drawn", "--rank", "0"),
        ("report", jobs[0], "--output", tmp_path / "report"),
        ("verify", jobs[0]),
    ):
        done = run(*words)
        assert done.returncode == 0, done.stderr


def test_results_say_where_each_picture_is_in_every_format(run, client, jobs, tmp_path):
    for form in ("csv", "jsonl"):
        done = run("results", jobs[0], "--output", tmp_path / f"rows.{form}")
        assert done.returncode == 0, done.stderr
    with (tmp_path / "rows.csv").open() as file:
        cells = [row["pack"] for row in csv.DictReader(file)]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    packs = [json.loads(line)["pack"] for line in lines]
    assert [json.loads(cell) if cell else None for cell in cells] == packs
    assert packs.count(None) == 1
    for pack in filter(None, packs):
        data = client.storage.get(pack["uri"]).data
        start, length = pack["raw"]["offset"], pack["raw"]["length"]
        assert data[start : start + length].startswith(b"\x93NUMPY")
    assert {row.get("overlay_uri") for row in map(json.loads, lines)} == {None}


def test_the_table_of_results_never_gives_the_zip_for_a_picture(run, jobs):
    table = run("results", jobs[0]).stdout
    assert table.count(f"in s3://camfleet/jobs/{jobs[0]}/packs/{MODEL}-0/part-0000") == 12


@pytest.mark.parametrize("words", [("--json",), ("--format", "csv")])
def test_presigned_urls_of_packed_pictures_are_refused_with_the_way_out(run, jobs, words):
    done = run("results", jobs[0], "--presign", "60", *words)
    assert done.returncode == 1
    assert "are packed: a URL opens whole objects" in (done.stderr + done.stdout)
    assert "camfleet get" in (done.stderr + done.stdout)
    assert "http" not in done.stdout


def test_any_tool_opens_a_pack(client, jobs, tmp_path):
    found = list(client.storage.keys(f"jobs/{jobs[0]}/packs/"))
    assert len(found) == 2  # chunks of four images
    assert all(keys.is_pack(key, jobs[0]) for key in found)
    for key in found:
        path = tmp_path / "pack.zip"
        path.write_bytes(client.storage.get(key).data)
        for command in (["unzip", "-tq", path], ["python3", "-m", "zipfile", "-t", path]):
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        with zipfile.ZipFile(path) as archive:
            overlay = next(name for name in archive.namelist() if name.endswith(".overlay.jpg"))
            pixels = np.frombuffer(archive.read(overlay), np.uint8)
            assert cv2.imdecode(pixels, cv2.IMREAD_COLOR) is not None


def test_python_packs_reads_and_refuses_as_the_commands_do(client, images):
    made = client.submit(images[:2], models=MODEL, pack=True, pictures=["overlay"])
    assert made.wait(timeout=180).ok == 2
    assert made.record().pack
    one, other = made.results()
    assert one.pack.heatmap is None
    assert client.pictures.read(one)[:3] == b"\xff\xd8\xff"
    assert client.pictures.read(one) != client.pictures.read(other)
    with pytest.raises(InvalidRequest, match="pack without pictures"):
        client.submit(images[0], models=MODEL, pack=True, pictures=[])


def test_a_dry_run_knows_packed_pictures(run, images):
    words = ("submit", images[0], "--model", MODEL, "--pack", "--dry-run")
    assert run(*words).returncode == 0
    refused = run(*words, "--picture", "none")
    assert refused.returncode == 2
    assert "--pack is for pictures" in refused.stderr
