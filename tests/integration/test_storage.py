"""Object storage against real S3 servers: SeaweedFS, and moto's in `make tools`."""

import gzip
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import msgspec
import pytest

from camfleet.errors import (
    AccessDenied,
    InvalidRequest,
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    SourceForbidden,
    StorageUnavailable,
)
from camfleet.jobstore.s3_roots import S3Roots
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.sources.objects import ObjectReader
from helpers.stores import moto

LARGE = bytes(2 * 2**20 + 1)  # boto3 writes this, obstore small objects

ODD_KEYS = [
    "a b",
    "ä b+c%20#d?.jpg",
    "a%2Fb",
    "%2e%2e/x",
    "a//b",
    "/lead",
    "tab\there",
    "*'()~!;:@&=$,[]{}|^`<>\"",
    "... /.hidden",
    " 😀 e\u0301\u202e",
]


@pytest.fixture(scope="module", params=["seaweedfs", pytest.param("moto", marks=pytest.mark.tools)])
def settings(request, stack, tmp_path_factory):
    """Give the settings of a store: the stack's, and one that answers as Amazon's does."""
    if request.param == "seaweedfs":
        yield stack.settings
        return
    with moto(tmp_path_factory.mktemp("moto")) as url:
        made = replace(stack.settings, s3_endpoint=url)
        with closing(Storage(made)) as opened:
            opened.set_up()
        yield made


@pytest.fixture
def storage(settings):
    made = Storage(settings)
    yield made
    made.close()


@pytest.fixture
def other_bucket(storage):
    """Give a bucket that isn't the settings', with one object."""
    client = storage._client
    client.create_bucket(Bucket="of-others")
    client.put_object(Bucket="of-others", Key="photo", Body=b"theirs")
    yield "of-others"
    client.delete_object(Bucket="of-others", Key="photo")
    client.delete_bucket(Bucket="of-others")


@pytest.fixture
def without_keys(monkeypatch, tmp_path):
    """Take all credentials away; give the two of the stack."""
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return keys


def test_what_is_put_is_got_back_with_its_etag(storage):
    uri = storage.put("test/one", b"content", "text/plain")
    assert uri == f"s3://{storage.bucket}/test/one"
    found = storage.get(uri)
    assert found.data == b"content"
    assert found.etag
    assert '"' not in found.etag
    assert storage.get("test/one") == found


@pytest.mark.parametrize("key", ["test/type", "test//type"])
@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_an_object_of_any_size_keeps_its_content_and_type(storage, key, data):
    storage.put(key, data, "image/x-test")
    assert storage.get(key).data == data
    head = storage._client.head_object(Bucket=storage.bucket, Key=key)
    assert head["ContentType"] == "image/x-test"
    assert storage.exists(key)


@pytest.fixture
def of_the_stack(stack):
    """Give the stack's own: not all that it takes is taken by other stores, nor refused."""
    with closing(Storage(stack.settings)) as made:
        yield made


def test_a_key_of_two_lines_is_one_object(of_the_stack):
    of_the_stack.put("odd/line\nbreak", b"ours", "image/jpeg")
    of_the_stack.put("odd//line\nbreak", b"boto3's", "image/jpeg")
    assert of_the_stack.get("odd/line\nbreak").data == b"boto3's"  # SeaweedFS reads // as /


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_with_odd_characters_mean_what_they_mean_to_boto3(storage, key):
    key = key if key.startswith("/") else "odd/" + key
    storage.put(key, b"ours", "image/jpeg")
    with storage._client.get_object(Bucket=storage.bucket, Key=key)["Body"] as body:
        assert body.read() == b"ours"
    storage._client.put_object(Bucket=storage.bucket, Key=key, Body=b"boto3's")
    assert storage.get(f"s3://{storage.bucket}/{key}").data == b"boto3's"
    assert storage.exists(key)


def test_keys_are_listed_as_they_are(storage):
    keys = [f"listed/{name}" for name in ("a b", "ä b+c%20#d?.jpg", "a%2Fb")]
    for key in keys:
        storage.put(key, b"x", "image/jpeg")
    assert list(storage.keys("listed/")) == sorted(keys)


@pytest.mark.parametrize("key", ["", "half \udc80 a pair"])
def test_a_key_that_no_object_can_have_is_the_callers_fault(storage, key):
    with pytest.raises(InvalidRequest):
        storage.put(key, b"x", "text/plain")
    with pytest.raises(InvalidRequest):
        storage.get(key)


@pytest.mark.parametrize("key", ["a/../b", "..", "a/./b"])
def test_a_key_that_a_store_refuses_is_the_callers_fault(of_the_stack, key):
    with pytest.raises(InvalidRequest):
        of_the_stack.put(key, b"x", "text/plain")
    with pytest.raises(InvalidRequest):
        of_the_stack.get(key)


def test_objects_are_listed_with_sizes_and_times(storage):
    before = time.time()
    for number in range(3):
        storage.put(f"sized/{number}", bytes(number), "")
    found = list(storage.objects("sized/"))
    assert [(each.key, each.nbytes) for each in found] == [(f"sized/{n}", n) for n in range(3)]
    assert all(before - 2 < each.modified_at < time.time() + 2 for each in found)


def test_an_object_that_stays_is_no_deleted_one(storage, monkeypatch):
    """Stores answer 200 and name what they didn't delete, as under a lock or another policy."""
    storage.put("locked/1", b"", "")
    whole = storage._client.delete_objects
    error = {"Key": "locked/1", "Code": "AccessDenied", "Message": "object locked"}
    monkeypatch.setattr(
        storage._client, "delete_objects", lambda **how: {**whole(**how), "Errors": [error]}
    )
    with pytest.raises(StorageUnavailable, match=r"locked/1 wasn't deleted.*object locked"):
        storage.delete(["locked/1"])


def test_folders_are_listed_without_what_lies_in_them(storage):
    for key in ("rooms/a/1", "rooms/a/2", "rooms/b/c/1", "rooms/file"):
        storage.put(key, b"", "")
    assert list(storage.folders("rooms/")) == ["rooms/a/", "rooms/b/"]
    assert list(storage.folders("no-rooms/")) == []


@pytest.mark.parametrize(
    "key",
    [
        "a<Code>NoSuchBucket</Code>",
        "a - Server returned non-2xx status code: 503 b",
        "Received redirect",
    ],
)
def test_a_key_that_reads_like_an_error_is_only_missing(storage, key):
    with pytest.raises(ObjectMissing):
        storage.get(key)


def test_a_missing_object_or_bucket_is_named(storage):
    with pytest.raises(ObjectMissing, match=f"s3://{storage.bucket}/none does not exist"):
        storage.get("none")
    with pytest.raises(ObjectMissing, match="s3://no-such-bucket/a"):
        storage.get("s3://no-such-bucket/a")
    assert not storage.exists("none")


def test_a_missing_object_is_not_downloaded(storage, tmp_path):
    with pytest.raises(ObjectMissing, match="none does not exist"):
        storage.download("none", str(tmp_path / "file"))


def test_an_object_above_the_limit_is_not_read(storage):
    storage.put("test/large", bytes(1000), "application/octet-stream")
    with pytest.raises(ObjectTooLarge, match="1000 bytes"):
        storage.get("test/large", limit=999)
    assert len(storage.get("test/large", limit=1000).data) == 1000


def test_compressed_objects_come_as_they_are_stored(storage):
    packed = gzip.compress(b"text" * 100)
    storage._client.put_object(
        Bucket=storage.bucket, Key="test/packed", Body=packed, ContentEncoding="gzip"
    )
    assert storage.get("test/packed").data == packed


def test_buckets_of_others_are_read(storage, other_bucket):
    assert storage.get(f"s3://{other_bucket}/photo").data == b"theirs"
    for number in range(20):  # more than stores are kept
        with pytest.raises(ObjectMissing):
            storage.get(f"s3://no-such-bucket-{number}/photo")
    assert storage.get(f"s3://{other_bucket}/photo").data == b"theirs"


def test_an_image_is_read_from_another_bucket_only_if_the_operator_named_it(storage, other_bucket):
    uri = f"s3://{other_bucket}/photo"
    for roots in ((), ("of-other",), (f"{other_bucket}/phot",), (f"{other_bucket}/photo/",)):
        with pytest.raises(SourceForbidden, match=f"add {other_bucket} to their CAMFLEET_S3_ROOTS"):
            ObjectReader(storage, S3Roots(storage.bucket, roots)).read(uri, 10)
    for roots in ((other_bucket,), ("*",)):
        opened = ObjectReader(storage, S3Roots(storage.bucket, roots))
        assert opened.read(uri, 10)[0] == b"theirs"
        for way in (
            f"s3://{other_bucket}/../of-others/photo",
            f"s3://{other_bucket}/a/%2e%2e/photo",
        ):
            with pytest.raises(SourceForbidden, match="name the object itself"):
                opened.read(way, 10)


def test_setting_up_twice_is_fine(storage):
    storage.set_up()
    storage.set_up()


def test_a_closed_storage_opens_again(storage):
    storage.put("test/closed", b"x", "text/plain")
    storage.close()
    assert storage.get("test/closed").data == b"x"


def test_a_store_that_is_not_there_is_named_with_its_setting():
    lost = Storage(Settings(redis_url="", bucket="none", s3_endpoint="http://127.0.0.1:9"))
    with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:9 .*CAMFLEET_S3_ENDPOINT"):
        lost.get("a")
    lost.close()


@pytest.mark.parametrize("uri", ["s3://BAD_bucket!/a.png", "s3://x/", "s3://a b?#%/c"])
def test_a_uri_that_names_no_object_is_the_callers_fault(storage, uri):
    with pytest.raises(InvalidRequest) as caught:
        storage.get(uri)
    assert uri.split("/")[2] in str(caught.value)


def test_a_missing_bucket_of_our_own_is_never_the_objects_fault(settings, tmp_path):
    storage = Storage(replace(settings, bucket="not-made-yet"))
    for work in (
        lambda: storage.get("a"),
        lambda: storage.get("s3://not-made-yet/a//b"),
        lambda: storage.exists("a"),
        lambda: list(storage.keys("a")),
        lambda: storage.download("a", str(tmp_path / "file")),
    ):
        with pytest.raises(StorageUnavailable, match=r"not-made-yet.*CAMFLEET_BUCKET"):
            work()
    storage.close()


@pytest.mark.parametrize("key", ["a", "a//b"])
def test_refused_credentials_are_the_callers_fault_in_buckets_of_others_only(
    stack, monkeypatch, key
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    storage = Storage(stack.settings)
    for work in (
        lambda: storage.get(key),
        lambda: storage.put(key, b"x", "text/plain"),
        lambda: storage.create(key, b"x", "text/plain"),
        lambda: storage.exists(key),
        lambda: list(storage.keys(key)),
    ):
        with pytest.raises(StorageUnavailable, match=f"bucket {storage.bucket} of CAMFLEET_BUCKET"):
            work()
    with pytest.raises(AccessDenied, match=f"s3://of-others/{key}.*AWS_SECRET_ACCESS_KEY"):
        storage.get(f"s3://of-others/{key}")
    storage.close()


def test_missing_credentials_are_named(settings, without_keys):
    storage = Storage(settings)
    with pytest.raises(StorageUnavailable, match=r"there are none.*AWS_ACCESS_KEY_ID"):
        storage.get("a")
    with pytest.raises(AccessDenied, match=r"there are none.*AWS_ACCESS_KEY_ID"):
        storage.get("s3://of-others/a")
    storage.close()


def test_credentials_of_a_profile_are_used(settings, without_keys, monkeypatch, tmp_path):
    access, secret = without_keys
    (tmp_path / "credentials").write_text(
        f"[someone]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "someone")
    storage = Storage(settings)
    storage.put("test/profile", b"x", "text/plain")
    assert storage.get("test/profile").data == b"x"
    storage.close()


def test_credentials_that_expire_are_used(settings, without_keys, monkeypatch, tmp_path):
    access, secret = without_keys
    expiring = {
        "Version": 1,
        "AccessKeyId": access,
        "SecretAccessKey": secret,
        "Expiration": "2100-01-01T00:00:00Z",
    }
    (tmp_path / "answer.json").write_bytes(msgspec.json.encode(expiring))
    process = f"credential_process = cat {tmp_path / 'answer.json'}"
    (tmp_path / "config").write_text(f"[default]\n{process}\n")
    storage = Storage(settings)
    storage.put("test/process", b"x", "text/plain")
    assert storage.get("test/process").data == b"x"
    storage.close()


def test_the_endpoint_of_the_settings_wins_over_the_environments(settings, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    storage = Storage(settings)
    storage.put("test/endpoint", b"x", "text/plain")
    assert storage.get("test/endpoint").data == b"x"
    storage.close()


def test_create_leaves_what_is_there(storage):
    key = "test/created"
    storage.delete([key])
    assert storage.create(key, b"first", "text/plain") == storage.uri(key)
    with pytest.raises(ObjectChanged, match=key):
        storage.create(key, b"second", "text/plain")
    assert storage.get(key).data == b"first"


def test_replace_writes_over_the_version_it_was_told_only(storage):
    storage.put("test/version", b"1", "text/plain")
    first = storage.get("test/version").etag
    storage.replace("test/version", b"2", "text/plain", etag=first)
    with pytest.raises(ObjectChanged, match="test/version"):
        storage.replace("test/version", b"3", "text/plain", etag=first)
    assert storage.get("test/version").data == b"2"
    storage.delete(["test/version"])
    with pytest.raises(ObjectChanged, match="test/version"):
        storage.replace("test/version", b"4", "text/plain", etag=first)
    assert not storage.exists("test/version")


@pytest.mark.parametrize(
    ("key", "padding"), [("race/plain", b""), ("race//odd", b""), ("race/large", LARGE)]
)
def test_of_eight_writers_at_once_exactly_one_wins(settings, key, padding):
    storage = Storage(settings, seconds=60)  # SeaweedFS makes losers wait, a second for each
    storage.delete([key])
    start = threading.Barrier(8)

    def wins(number, write, condition):
        start.wait()
        try:
            data = b"%d %s" % (number, write.__name__.encode()) + padding  # no ETag twice
            write(key, data, "text/plain", **condition)
        except ObjectChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for write in (storage.create, storage.replace):
            condition = {"etag": storage.get(key).etag} if write == storage.replace else {}
            won = list(pool.map(partial(wins, write=write, condition=condition), range(8)))
            assert won.count(True) == 1
            assert storage.get(key).data[:1] == b"%d" % won.index(True)
    storage.close()


def test_sixteen_threads_share_a_storage(storage):
    def work(number):
        key, data = f"many/{number}", b"%d" % number * 5000
        storage.put(key, data, "text/plain")
        return storage.get(key, limit=100_000).data == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(320)))


FORKED = """
import os, sys
from camfleet.settings import Settings
from camfleet.storage.storage import Storage

storage = Storage(Settings.from_environ(os.environ))
storage.put("test/forked", b"parent", "text/plain")
child = os.fork()
if not child:
    found = storage.get("test/forked").data
    storage.put("test/forked", found + b" and child", "text/plain")
    os._exit(0)
status = os.waitpid(child, 0)[1]
print(storage.get("test/forked").data.decode())
storage.close()
sys.exit(status)
"""


def test_a_forked_child_reads_and_writes_too(environ, settings):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        env={**environ, "CAMFLEET_S3_ENDPOINT": settings.s3_endpoint},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "parent and child\n"
