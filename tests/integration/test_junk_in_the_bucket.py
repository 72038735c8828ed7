"""Objects that somebody else put among camfleet's own, in a real bucket."""

import itertools
import json
from contextlib import closing
from dataclasses import replace

import pytest

from camfleet.broker.ledger import Ledger
from camfleet.errors import (
    DigestMismatch,
    InvalidCard,
    InvalidRequest,
    ObjectDamaged,
    StorageUnavailable,
    UnknownModel,
)
from camfleet.jobs import recovery
from camfleet.jobstore import keys, objects, records
from camfleet.jobstore.records import latest_retry, read_record
from camfleet.jobstore.results_parts import Outcomes
from camfleet.jobstore.totals import Totals
from camfleet.registry import cards, changes, entries, names
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage
from helpers.commands import camfleet
from helpers.producers import items, producing, row
from helpers.s3_front import a_storefront

numbers = itertools.count()
MODEL = "beside-junk"
DIGEST = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def client(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("junk")
    with producing(settings, folder, model=MODEL, database=11, chunk_size=2) as (made, redis):
        yield made
        redis.flushdb()


@pytest.fixture
def put(client):
    """Return what puts an object; it's taken away at the end, or what was there put back."""
    before = {}

    def put_(key, data):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        if client.storage.exists(key):
            before.setdefault(key, client.storage.get(key).data)
        before.setdefault(key, None)
        client.storage.put(key, data, "application/octet-stream")

    yield put_
    for key, data in before.items():
        if data is None:  # deleted one by one: XML, as of several, can't hold every name
            client.storage._client.delete_object(Bucket=client.storage.bucket, Key=key)
        else:
            client.storage.put(key, data, "application/octet-stream")


def entry(**changes):
    return {"id": MODEL, "version": "9", "digest": DIGEST, "added_at": 9e9, **changes}


JUNK = {
    "registry/junk": b"junk",
    "registry/junk.json": entry(),
    f"registry/{MODEL}/notes.txt": b"notes",
    f"registry/{MODEL}/9/9.json": entry(),
    f"registry/{MODEL}/.hidden.json": entry(),
    f"registry/{MODEL}/9\n.json": entry(version="9\n"),
    "registry/\x1b[2Jscreen/1.json": entry(id="\x1b[2Jscreen"),
    f"registry/{MODEL}/empty.json": b"",
    f"registry/{MODEL}/foreign.json": {"name": "another program's"},
    f"registry/{MODEL}/nested.json": b'{"id":' + b"[" * 60_000,
    f"registry/{MODEL}/binary.json": bytes(range(256)),
    f"registry/{MODEL}/huge.json": b" " * 2**20,
    f"registry/{MODEL}/another.json": entry(id="another"),
    f"registry/{MODEL}/8.json": entry(),
    f"registry/{MODEL}/path.json": entry(version="path", digest="../../../../etc/passwd"),
    f"registry/{MODEL}/line.json": entry(version="line", digest=DIGEST + "\n"),
    f"registry/{MODEL}/more.json": entry(version="more", evil=True),
    f"registry/{MODEL}/time.json": entry(version="time", added_at="tomorrow"),
}


@pytest.mark.parametrize("key", JUNK, ids=ascii)
def test_what_is_no_entry_is_ignored_with_one_warning_and_models_are_found(
    client, put, caplog, key
):
    put(key, JUNK[key])
    registry = Registry(client.storage)
    before = registry.find(f"{MODEL}@1")
    for _ in range(3):
        assert registry.find(MODEL) == before
        assert before in [found.ref for found in registry.list()]
        assert not any(found.digest == DIGEST for found in registry.list())
    said = [text for text in caplog.messages if "ignored" in text]
    assert len(said) == 1
    assert "\x1b" not in said[0]
    assert "\n" not in said[0]


def test_a_folder_of_the_store_is_no_entry(client, put):
    put(f"registry/{MODEL}/folder/", b"")
    assert client.models.find(MODEL)
    assert client.models.list()


def test_an_entry_that_may_not_be_read_is_passed_over_unless_it_is_asked_for(
    client, put, caplog, settings
):
    old = "of-0.1.0"  # none of its changes is recorded, so all its entries are read
    put(keys.registry(MODEL, "secret"), entry(version="secret"))
    put(keys.registry(old, "1"), entry(id=old, version="1"))
    put(keys.registry(old, "secret"), entry(id=old, version="secret", added_at=9e10))
    with a_storefront(settings.s3_endpoint) as front:
        front.trouble = lambda _method, path: 403 if "/secret.json" in path else None
        with closing(Storage(replace(settings, s3_endpoint=front.url))) as storage:
            registry = Registry(storage)
            assert [found.version for found in registry.list() if found.id == MODEL] == ["1"]
            assert registry.find(MODEL).version == registry.find(old).version == "1"
            assert "secret.json is no entry" in caplog.text
            with pytest.raises(StorageUnavailable, match=r"secret\.json"):
                registry.find(f"{MODEL}@secret")
            front.trouble = lambda _method, path: 503 if "/secret.json" in path else None
            for look in (registry.list, lambda: registry.find(old)):
                with pytest.raises(StorageUnavailable):
                    look()  # an outage is no junk: nothing may look as if it weren't there


def test_a_card_is_what_its_digest_says_or_refused(client, put):
    ref = client.models.find(MODEL)
    whole = client.storage.get(keys.card(ref.digest)).data
    put(keys.card(ref.digest), whole.replace(b'"a"', b'"b"'))
    with pytest.raises(DigestMismatch, match="not what its digest says"):
        client.models.card(ref.digest)
    put(keys.card(ref.digest), b"#" * (cards.STORED_BYTES + 1))
    with pytest.raises(ObjectDamaged, match=f"{keys.card(ref.digest)} has .* bytes"):
        client.models.card(ref.digest)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('artifact = "model.py"', InvalidCard),
        ('artifact = "../../model.keras"', InvalidCard),
        ('artifact = "model.keras"\nsha256 = "x"', InvalidCard),
        ('artifact = "model.keras"\nlabels = ' + "[" * 100_000, InvalidCard),
        ("a." * 1_000_000 + "a = 1", InvalidCard),
        ('"\\"".' * 1_000_000 + "a = 1", InvalidCard),
        ("a = {" + "b." * 1000 + "b = 1}", InvalidCard),
    ],
    ids=["code", "a way out", "no digest", "nested", "dots", "quoted dots", "inner dots"],
)
def test_a_card_that_somebody_made_with_its_digest_is_checked_like_any_other(
    client, put, text, error
):
    data = f'id = "made"\n{text}\n[input]\nheight = 8\nwidth = 8\n'.encode()
    digest = cards.card_digest(data)
    put(keys.card(digest), data)
    with pytest.raises(error):
        client.models.card(digest)


@pytest.mark.parametrize("digest", ["../../etc", DIGEST + "\n", "", "A" * 64, DIGEST + "/.."])
def test_what_is_no_digest_is_never_made_a_key(client, digest):
    with pytest.raises(UnknownModel, match="is no digest"):
        client.models.card(digest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 100_000,
        b'{"classes": 1000000000000}',
        b'{"candidates": [{"path": 3}]}',
        b'{"head": "text"}',
        b'{"milliseconds_per_image": {}}',
        b"[]",
        b" " * (objects.MOST_JSON + 1),
    ],
    ids=["empty", "nested", "classes", "layers", "head", "times", "a list", "huge"],
)
def test_a_report_that_no_worker_wrote_is_named(client, put, data):
    key = keys.report(client.models.find(MODEL).digest)
    put(key, data)
    with pytest.raises((InvalidRequest, ObjectDamaged), match=key):
        client.models.report(client.models.find(MODEL).digest)
    assert client.models.list()


@pytest.fixture
def job(client):
    return client.submit(items(4), models=[MODEL], job_id=f"junk-{next(numbers)}")


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": 10**12},
        {"items": 2**26, "chunk_size": 1, "parts": 2**26},
        {"items": 2**18, "chunk_size": 4, "parts": 2**16},
        {"items": 2**62, "chunk_size": 2**62, "parts": 1},
        {"items": 2, "models": [{"id": "m", "version": "1", "digest": DIGEST}] * 300, "parts": 1},
        {"duplicates": -1},
        {"items": 10**15, "chunk_size": 1, "parts": 10**15},
        {"items": -4, "parts": -2},
        {"chunk_size": 0},
        {"models": []},
        {"job_id": "another"},
        {"models": [{"id": "../../models", "version": "1", "digest": DIGEST}]},
        {"models": [{"id": "m\n", "version": "1", "digest": DIGEST}]},
        {"models": [{"id": "m", "version": "1", "digest": "../" * 20}]},
        {"outputs": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_whose_numbers_and_names_cannot_be_is_named_and_not_believed(
    client, put, job, changes
):
    key = keys.job(job.id)
    plain = json.loads(client.storage.get(key).data)
    put(key, {**plain, **changes})
    with pytest.raises(InvalidRequest, match=key):
        read_record(client.storage, job.id)
    for verb in (lambda: client.job(job.id).verify(), lambda: client.resume(job.id)):
        with pytest.raises(InvalidRequest, match=key):
            verb()
    assert client.job(job.id).status().total == 4
    assert job.id in [found.job_id for found in client.jobs()]


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[" * 100_000, b'{"schema_version": 1, "x": ' + b"[" * 100_000],
    ids=["empty", "null", "nested", "nested inside"],
)
def test_a_record_that_is_no_record_is_named(client, put, job, data):
    put(keys.job(job.id), data)
    with pytest.raises(InvalidRequest, match=keys.job(job.id)):
        read_record(client.storage, job.id)


def test_a_record_of_gigabytes_is_not_read(client, put, job, monkeypatch):
    monkeypatch.setattr(objects, "MOST_JSON", 2**16)
    put(keys.job(job.id), b" " * 2**17)
    monkeypatch.setattr(objects.read_document, "__defaults__", (2**16,))
    with pytest.raises(InvalidRequest, match="has 131072 bytes, more than 65536"):
        read_record(client.storage, job.id)


FORGED = {"items": 2**26, "chunk_size": 1, "parts": 2**26}


@pytest.mark.parametrize(
    "words",
    [
        ("results", "JOB"),
        ("verify", "JOB"),
        ("report", "JOB", "--output", "report"),
        ("compare", "JOB", "JOB", "--output", "comparison"),
        ("get", "JOB", "--output", "pictures"),
        ("gallery", "JOB", "--output", "gallery"),
        ("resume", "JOB"),
    ],
    ids=lambda words: words[0],
)
def test_no_command_goes_through_parts_that_a_record_makes_up(
    client, put, job, environ, tmp_path, words
):
    key = keys.job(job.id)
    put(key, {**json.loads(client.storage.get(key).data), **FORGED})
    given = [job.id if word == "JOB" else word for word in words]
    done = camfleet(*given, environ=environ, cwd=tmp_path)
    assert done.returncode not in (0, 2), done.stdout
    assert f"{key} says that the job has {2**26} parts" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_large_job_is_believed_by_its_manifest_or_its_results(client, put, job, monkeypatch):
    monkeypatch.setattr(records, "_FEW", 1)
    record = read_record(client.storage, job.id)
    for number in range(2):
        data = client.storage.get(keys.manifest_part(job.id, number)).data
        put(keys.manifest_part(job.id, number), data)  # and back again
    client.storage.delete([keys.manifest_part(job.id, number) for number in range(2)])
    with pytest.raises(InvalidRequest, match="most of them lie neither in"):
        read_record(client.storage, job.id)
    for ref in record.refs():
        put(keys.results_part(record, ref), b"whatever")
    assert read_record(client.storage, job.id).parts == 2


def test_a_retry_with_the_last_number_there_is_can_only_be_made_up(client, put, job, settings):
    key = keys.retry(job.id, keys.MOST_RETRIES)
    retry = {"schema_version": 1, "job_id": job.id, "number": keys.MOST_RETRIES, "codes": []}
    put(key, {**retry, "created_at": 1.0, "chunks": []})
    with closing(Ledger(client.settings)) as ledger:
        for number in range(2):
            ledger.commit(job.id, number, Totals.of([row(str(n), "ok") for n in range(2)]))
    with pytest.raises(InvalidRequest, match=f"{key}: delete that"):
        client.retry(job.id)


@pytest.mark.parametrize(
    "found",
    [
        {"job_id": "another", "left_out": []},
        {"left_out": [{"kind": ".x", "files": 1, "why": "", "examples": []}] * 2000},
        {"left_out": [{"kind": "x" * 2**22, "files": 1, "why": "", "examples": []}]},
        {"left_out": {}},
    ],
    ids=["another job's", "many", "long", "no list"],
)
def test_what_somebody_else_says_of_a_jobs_sources_is_named(client, put, job, found):
    key = keys.source(job.id)
    put(key, {"schema_version": 1, "job_id": job.id, **found})
    with pytest.raises(InvalidRequest, match=key):
        job.left_out()


def test_junk_among_the_retries_is_no_retry(client, put, job):
    record = read_record(client.storage, job.id)
    for name in ("zzz", "notes.json", "99999.json.bak", "1.json", "0001.json", "00000.json"):
        put(keys.retries(job.id) + name, b"junk")
    assert latest_retry(client.storage, record) is None
    assert not job.verify().passed
    with closing(Ledger(client.settings)) as ledger:
        assert len(recovery.rebuild(record, client.storage, ledger)) == 2


@pytest.mark.parametrize("chunks", [[[7, 0]], [[0, 99]], [[-1, 0]]])
def test_a_retry_of_chunks_that_the_job_does_not_have_is_refused(client, put, job, chunks):
    key = keys.retry(job.id, 1)
    retry = {"schema_version": 1, "job_id": job.id, "number": 1, "created_at": 1.0, "codes": []}
    put(key, {**retry, "chunks": chunks})
    with pytest.raises(InvalidRequest, match=key):
        latest_retry(client.storage, read_record(client.storage, job.id))


def test_junk_beside_a_job_changes_nothing(client, put, job):
    for key in (
        "jobs/junk",
        f"jobs/{job.id}/junk.json",
        keys.results(job.id) + "junk.parquet",
        keys.results(job.id) + "another-7/part-00000.parquet",
        keys.manifest(job.id) + "part-99999.parquet",
        "models/junk",
        f"models/{DIGEST}/converted/junk",
    ):
        put(key, b"junk")
    assert job.verify().missing_parts == 2
    assert client.job(job.id).status().total == 4
    assert list(job.results()) == []
    assert client.resume(job.id).status().total == 4


def test_a_results_part_too_large_to_be_read_is_damaged_and_replaced(client, put, job, monkeypatch):
    record = read_record(client.storage, job.id)
    ref = next(record.refs())
    key = keys.results_part(record, ref)
    monkeypatch.setattr(objects, "MOST_PART", 2**16)
    put(key, b"PAR1" * 2**15)
    assert f"{key} is damaged" in job.verify().faults[0]
    outcomes = Outcomes(client.storage)
    with pytest.raises(ObjectDamaged, match=f"{key} is damaged .* camfleet resume {job.id}"):
        list(job.results())
    rows = [row("0", "ok"), row("1", "image_not_found")]
    before = outcomes.find_readable(record, ref)
    stored = outcomes.store(record, ref, rows, before)
    assert [image.item_id for image in stored.images] == ["0", "1"]
    assert outcomes.find(record, ref).images == stored.images


def test_the_command_lists_models_beside_junk_and_names_a_report_that_lacks_something(
    client, put, environ
):
    ref = client.models.find(MODEL)
    put(f"registry/{MODEL}/foreign.json", {"name": "another program's"})
    put("registry/\x1b[2Jscreen/1.json", b"junk")
    put(keys.report(ref.digest), {"classes": 2})

    listed = camfleet("models", "list", environ=environ)
    assert listed.returncode == 0
    assert MODEL in listed.stdout
    assert "foreign.json is no entry of the registry and ignored" in listed.stderr
    assert "\x1b" not in listed.stdout + listed.stderr
    shown = camfleet("models", "show", MODEL, environ=environ)
    assert shown.returncode != 0
    assert f"the report of {MODEL} in storage has no" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_no_name_of_a_model_has_thousands_of_strangers_objects_read(client, put, monkeypatch):
    """A request for a model that isn't there must not cost one for each that is."""
    for number in range(6):
        put(keys.registry("crowd", str(number)), entry(id="crowd", version=str(number)))
        put(f"{keys.changes('crowd')}junk-{number}", b"junk")
    monkeypatch.setattr(names, "_SHOWN", 2)
    registry = Registry(client.storage)
    read = []
    plain = client.storage.get
    monkeypatch.setattr(
        client.storage, "get", lambda key, **how: read.append(key) or plain(key, **how)
    )
    with pytest.raises(UnknownModel, match="no model 'nothing' is registered"):
        registry.find("nothing")
    assert len(read) < 4
    monkeypatch.undo()
    monkeypatch.setattr(entries, "_MOST_ENTRIES", 5)
    monkeypatch.setattr(changes, "_MOST_OWN", 5)
    for ask, prefix in (
        (registry.list, keys.registry()),
        (lambda: registry.find("crowd"), keys.changes("crowd")),
    ):
        with pytest.raises(InvalidRequest, match=f"below {client.storage.uri(prefix)} lie more"):
            ask()
    assert registry.find("crowd@3").version == "3"
