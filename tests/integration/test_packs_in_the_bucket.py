"""Packed pictures in a real object store: the same bytes by one request, whatever happens."""

import io
import zipfile
from dataclasses import replace
from functools import partial

import pytest
from msgspec.structs import asdict
from msgspec.structs import replace as changed

from camfleet import InvalidRequest
from camfleet.contract.records import ChunkRef
from camfleet.contract.results import Pack, Span
from camfleet.errors import ObjectChanged, ObjectDamaged, ObjectMissing, OperationUnsupported
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage
from camfleet_worker.chunks import explaining, packing
from camfleet_worker.chunks.explaining import CAREFUL_FROM
from camfleet_worker.chunks.job_records import Records
from camfleet_worker.pipeline.spool import Spool
from helpers.rows import job, row
from helpers.s3_front import a_storefront
from helpers.samples import write_card, write_photos
from helpers.worker_services import client_of, services_in

KINDS = ("heatmap", "overlay", "raw", "thumbnail")
HEAT = [[1.0, 0.0], [0.0, 0.0]]
JPEG = b"\xff\xd8\xff\xe0 a picture"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def worker(settings, folder):
    with services_in(folder, settings) as made:
        yield made


@pytest.fixture(scope="module")
def client(settings, worker):
    with client_of(worker, settings, chunk_size=4) as made:
        yield made


@pytest.fixture(scope="module")
def photos(client, folder):
    client.models.add(write_card(folder / "card", "packed"))
    return write_photos(folder / "photos", 6)


@pytest.fixture
def submit(client, photos):
    """Submit a job whose messages nobody reads: the test is the worker."""

    def submit(sources=photos, **options):
        words = {"pictures": KINDS, "target": "top:2", "pack": True, **options}
        return client.submit(list(sources), models=["packed"], **words)

    return submit


def run(worker, made, retry=0):
    record = made.record()
    for part in range(record.parts):
        worker.chunks.run(ChunkRef(job_id=made.id, model=0, part=part, retry=retry))


def packs(client, made):
    return list(client.storage.keys(f"jobs/{made.id}/packs/"))


def archive(client, key):
    return zipfile.ZipFile(io.BytesIO(client.storage.get(key).data))


def ranged(client, uri, span):
    """Return what any S3 client gets for a range."""
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    wanted = f"bytes={span.offset}-{span.offset + span.length - 1}"
    answer = client.storage._client.get_object(Bucket=bucket, Key=key, Range=wanted)
    return answer["Body"].read()


@pytest.fixture(scope="module")
def pair(client, worker, photos):
    """Give a packed job, and the same with single objects."""
    words = {"models": ["packed"], "pictures": KINDS, "target": "top:2"}
    made = [client.submit(list(photos), pack=pack, **words) for pack in (True, False)]
    for one in made:
        run(worker, one)
    return made


def test_a_ranged_get_of_each_picture_gives_the_bytes_of_the_single_object(client, pair):
    packed, single = (list(made.results()) for made in pair)
    assert len(packed) == len(single) == 12
    for one, other in zip(packed, single, strict=True):
        assert other.pack is None
        assert one.pack.uri.startswith(f"s3://camfleet/jobs/{pair[0].id}/packs/packed-0/part-0000")
        for kind in KINDS:
            assert getattr(one, f"{kind}_uri") is None
            found = ranged(client, one.pack.uri, getattr(one.pack, kind))
            assert found == client.storage.get(getattr(other, f"{kind}_uri")).data
            assert found == client.pictures.read(one, kind) == client.pictures.read(other, kind)


def test_each_chunk_has_one_zip_whose_names_say_image_rank_and_class(client, pair):
    found = packs(client, pair[0])
    assert len(found) == pair[0].record().chunks == 2
    head = client.storage._client.head_object(Bucket="camfleet", Key=found[0])
    assert head["ContentType"] == "application/zip"
    names = [name for key in found for name in archive(client, key).namelist()]
    assert len(names) == len(set(names)) == 12 * len(KINDS)
    assert names == sorted(names)
    assert names[0] == "00000000-photo-00-1-bright.heatmap.png"
    assert names[-1].startswith("00000005-photo-05-2-")
    assert all(archive(client, key).testzip() is None for key in found)
    assert packs(client, pair[1]) == []


def test_a_job_that_packs_says_so_in_its_record_and_others_are_as_before(client, pair):
    packed, single = (client.storage.get(keys.job(made.id)).data for made in pair)
    assert b'"pack": true' in packed
    assert b'"needs": "0.2.0"' in packed
    assert b'"pack"' not in single


@pytest.mark.parametrize("attempt", [1, CAREFUL_FROM])
def test_a_chunk_that_runs_again_gives_the_same_bytes(
    client, worker, submit, photos, monkeypatch, attempt
):
    made = submit(photos[:3], pictures=["overlay"], target="top")
    run(worker, made)
    (key,) = packs(client, made)
    data = client.storage.get(key).data
    (ref,) = made.record().refs()
    client.storage.delete([key, keys.results_part(made.record(), ref)])
    monkeypatch.setattr(Records, "is_needed", lambda *_: True)
    monkeypatch.setattr(type(worker.leases), "take", lambda *_: attempt)
    run(worker, made)
    assert packs(client, made) == [key]
    assert client.storage.get(key).data == data


def test_pictures_too_large_for_memory_come_from_a_file_and_are_the_same(
    client, worker, submit, pair, monkeypatch
):
    monkeypatch.setattr(explaining, "Spool", partial(Spool, 0))
    monkeypatch.setattr(packing, "IN_MEMORY", 0)
    made = submit()
    run(worker, made)
    for one, other in zip(made.results(), pair[0].results(), strict=True):
        assert client.pictures.read(one, "raw") == client.pictures.read(other, "raw")
    found = [client.storage.get(key).data for one in (made, pair[0]) for key in packs(client, one)]
    assert found[:2] == found[2:]
    head = client.storage._client.head_object(Bucket="camfleet", Key=packs(client, made)[0])
    assert head["ContentType"] == "application/zip"


def test_of_two_runs_with_other_pictures_the_rows_name_the_pack_that_was_made_with_them(
    client, worker, submit, folder, photos, monkeypatch
):
    """A worker that lost its lease mustn't change what the rows of another one point to."""
    place = folder / "late"
    place.mkdir()
    late, there = place / "late.png", place / "there.png"
    late.write_bytes(b"not yet")
    there.write_bytes(photos[1].read_bytes())
    made = submit([late, there], pictures=["overlay"], target="top")
    run(worker, made)
    _, found = made.results()
    before = client.pictures.read(found)
    late.write_bytes(photos[2].read_bytes())
    monkeypatch.setattr(Records, "is_needed", lambda *_: True)
    monkeypatch.setattr(worker.chunks._stores.outcomes.__class__, "find", lambda *_: None)
    run(worker, made)  # its part is too late, its pack has another picture first
    monkeypatch.undo()
    assert len(packs(client, made)) == 2
    assert list(made.results())[1] == found
    assert client.pictures.read(found) == before


def test_a_retry_writes_a_pack_beside_and_rows_that_stay_keep_theirs(
    client, worker, submit, folder, photos
):
    place = folder / "retried"
    place.mkdir()
    paths = [place / f"{number}.png" for number in range(3)]
    for path, content in zip(
        paths, (photos[0].read_bytes(), b"", photos[2].read_bytes()), strict=True
    ):
        path.write_bytes(content)
    made = submit(paths, target="top")
    run(worker, made)
    before = list(made.results())
    (first,) = packs(client, made)
    assert [one.pack is None for one in before] == [False, True, False]
    assert len(archive(client, first).namelist()) == 2 * len(KINDS)
    paths[1].write_bytes(photos[1].read_bytes())
    client.retry(made.id)
    run(worker, made, retry=1)
    after = list(made.results())
    (second,) = set(packs(client, made)) - {first}
    assert [after[0], after[2]] == [before[0], before[2]]
    assert after[1].pack.uri == client.storage.uri(second)
    assert archive(client, second).namelist()[0].startswith("00000001-1-1-")
    for kind in KINDS:
        assert len({client.pictures.read(one, kind) for one in after}) == 3


def test_a_chunk_of_failures_alone_has_no_pack(client, worker, submit, folder):
    (folder / "broken.png").write_bytes(b"no picture")
    made = submit([folder / "broken.png"])
    run(worker, made)
    (failed,) = made.results()
    assert (failed.error_code, failed.pack, packs(client, made)) == ("image_unreadable", None, [])
    with pytest.raises(ObjectMissing, match=r"broken.png has no overlay"):
        client.pictures.read(failed)


def test_urls_of_packed_pictures_are_refused_with_the_way_out(client, pair):
    packed, single = (next(iter(made.results())) for made in pair)
    with pytest.raises(InvalidRequest, match=r"are packed: .* camfleet get .* without --pack"):
        client.pictures.urls(packed)
    assert set(client.pictures.urls(single)) == set(KINDS)


def test_results_save_their_pictures_packed_or_not_as_plain_data_too(client, pair, tmp_path):
    for made, name in zip(pair, ("packed", "single"), strict=True):
        results = list(made.results())
        saved = client.pictures.save(results, tmp_path / name)
        assert (saved.pictures, saved.failed) == (12 * len(KINDS) + 6, 0)
        again = client.pictures.save(map(asdict, results), tmp_path / name)
        assert again.fetched == 0


LIES = {
    "negative": Span(offset=-5, length=10),
    "beyond the object": Span(offset=2**30, length=10),
    "past its end": Span(offset=4, length=10**6),
    "too long": Span(offset=0, length=2**31 - 1),
    "empty": Span(offset=0, length=0),
    "another place": Span(offset=3, length=10),
}


@pytest.fixture(scope="module")
def lying(client):
    """Give what writes a job of one row whose pack is somebody's, and what fetches its overlay."""
    own = {"jobs/lying/packs/net-0/part-00000-" + "0" * 32 + ".zip": JPEG + b"." * 100}
    for key, data in own.items():
        client.storage.put(key, data, "application/zip")
    (good,) = (client.storage.uri(key) for key in own)

    def fetch(folder, uri=good, span=None):
        pack = Pack(uri=uri, overlay=span or Span(offset=0, length=len(JPEG)))
        job(client.storage, "lying", [[row(0, HEAT, pack=pack)]], 1)
        return client.pictures.get("lying", folder)

    return fetch


@pytest.mark.parametrize("lie", LIES)
def test_a_row_whose_place_in_a_pack_lies_ends_in_one_error(client, lying, tmp_path, lie):
    assert lying(tmp_path).fetched == 1
    saved = lying(tmp_path / "lie", span=LIES[lie])
    ((_, reason),) = saved.failures
    assert reason.startswith("object_damaged: ")
    assert list((tmp_path / "lie").iterdir()) == []


PACK = "/packs/net-0/part-00000-" + "0" * 32 + ".zip"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://somebody-else/jobs/lying{PACK}",
        f"s3://camfleet/jobs/another{PACK}",
        f"s3://camfleet/jobs/lying/packs/../../another{PACK}",
        f"s3://camfleet/jobs/lying{PACK}/../x.zip",
        "s3://camfleet/jobs/lying/job.json",
        "s3://camfleet/uploads/x.jpg",
        f"file:///jobs/lying{PACK}",
        f"jobs/lying{PACK}",
        f"http://127.0.0.1/jobs/lying{PACK}",
        "",
        "\x1b[31m",
    ],
)
def test_a_row_that_names_what_is_no_pack_of_its_job_opens_nothing(lying, tmp_path, uri):
    ((_, reason),) = lying(tmp_path, uri=uri).failures
    assert reason.startswith("object_damaged: the row says that its overlay is")


def test_a_pack_that_is_gone_is_named(client, tmp_path, lying):
    gone = "s3://camfleet/jobs/lying/packs/net-0/part-00000-" + "f" * 32 + ".zip"
    ((_, reason),) = lying(tmp_path, uri=gone).failures
    assert reason.startswith(f"object_missing: {gone}")


def test_a_result_of_nobody_knows_which_job_may_name_any_pack_of_ours_and_nothing_else(
    client, pair
):
    found = next(iter(pair[0].results()))
    other = changed(found, pack=changed(found.pack, uri=f"s3://somebody-else/jobs/x{PACK}"))
    assert client.pictures.read(found)[:3] == JPEG[:3]
    with pytest.raises(ObjectDamaged, match="camfleet wrote no such row"):
        client.pictures.read(other)


def test_a_store_that_sends_no_ranges_is_named_instead_of_read_whole(settings, client):
    uri = client.storage.put("packed/ranges.bin", bytes(range(256)) * 4096, "x/y")
    with a_storefront(settings.s3_endpoint) as front:
        storage = Storage(replace(settings, s3_endpoint=front.url))
        assert storage.get_range(uri, 300, 5) == bytes(range(44, 49))
        front.trouble = lambda _method, _path: "whole"
        with pytest.raises(OperationUnsupported, match="sends no parts of it"):
            storage.get_range(uri, 300, 5)
        storage.close()


@pytest.mark.parametrize("library", ["obstore", "boto3"])
def test_a_range_of_an_object_that_has_changed_is_refused(client, library):
    uri = client.storage.put(f"packed/changed-by-{library}.bin", b"0123456789", "x/y")
    place, etag = client.storage._place(uri), client.storage.get(uri).etag
    backend = {"obstore": client.storage._obstore, "boto3": client.storage._boto}[library]
    assert backend.get_range(place, 4, 6, etag) == b"456789"
    client.storage.put(uri, b"abcdefghij", "x/y")
    with pytest.raises(ObjectChanged, match=f"changed-by-{library}"):
        backend.get_range(place, 4, 6, etag)


def test_a_range_beyond_an_object_is_damage_for_either_library(client):
    uri = client.storage.put("packed/short.bin", b"0123456789", "x/y")
    place = client.storage._place(uri)
    assert client.storage.get_range(uri, 4, 6) == b"456789"
    assert client.storage._boto.get_range(place, 4, 6, None) == b"456789"
    for start, length in ((4, 7), (10, 1), (2**40, 1)):
        with pytest.raises(ObjectDamaged, match=r"short\.bin"):
            client.storage.get_range(uri, start, length)
