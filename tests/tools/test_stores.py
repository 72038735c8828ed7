"""Other stores: what `camfleet setup` says of them, and what a policy of Amazon's lets us do."""

import json
import urllib.request
from pathlib import Path

import boto3
import pytest

from camfleet.errors import AccessDenied, StorageUnavailable
from camfleet.settings import Settings
from camfleet.storage.probe import Probe
from camfleet.storage.storage import Storage
from helpers import documents
from helpers.stores import moto, s3rver

pytestmark = pytest.mark.tools

REGION = "eu-central-1"
LARGE = bytes(20 * 2**20)


@pytest.fixture
def keys(monkeypatch):
    """Give a function that sets the credentials of this process."""

    def use(access, secret):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    return use


def settings_of(url, bucket="my-bucket", region=REGION):
    return Settings(redis_url="", bucket=bucket, s3_endpoint=url, s3_region=region)


def look(storage):
    return {check.what: check for check in Probe(storage).checks()}


def test_a_store_that_knows_no_conditions_is_called_so(tmp_path, keys):
    keys("S3RVER", "S3RVER")
    with s3rver(tmp_path) as url:
        storage = Storage(settings_of(url, region="us-east-1"))
        storage.set_up()
        found = look(storage)
        missing = {what for what, check in found.items() if check.missing}
        assert {"conditional writes", "conditional changes"} <= missing
        assert found["conditional writes"].found == "If-None-Match is ignored"
        assert found["conditional changes"].found == "If-Match is ignored"
        assert found["deleting"].found == "done"
        assert list(storage.keys("uploads/")) == []
        storage.close()


def test_a_store_like_amazons_lacks_nothing_in_another_region(tmp_path, keys):
    keys("AKIAANYBODY", "secret")
    with moto(tmp_path) as url:
        storage = Storage(settings_of(url))
        storage.set_up()
        storage.set_up()
        assert {what for what, check in look(storage).items() if check.costs} == set()
        assert list(storage.keys("")) == []
        where = storage._client.get_bucket_location(Bucket="my-bucket")
        assert where["LocationConstraint"] == REGION
        storage.close()


@pytest.mark.parametrize("way", ["web identity", "role of a profile"])
def test_a_role_is_assumed_at_a_service_like_amazons(tmp_path, monkeypatch, keys, way):
    with moto(tmp_path) as url:
        keys("AKIAANYBODY", "secret")
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(
            Bucket="my-bucket"
        )
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        role = "arn:aws:iam::123456789012:role/camfleet"
        if way == "web identity":
            (tmp_path / "token").write_text("header.e30.signature")
            monkeypatch.setenv("AWS_ROLE_ARN", role)
            monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        else:
            (tmp_path / "config").write_text(
                f"[profile fleet]\nrole_arn = {role}\nsource_profile = own\n[profile own]\n"
                "aws_access_key_id = AKIAOWN\naws_secret_access_key = secret\n"
            )
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
            monkeypatch.setenv("AWS_PROFILE", "fleet")
        storage = Storage(settings_of(url))
        for key in ("photos/a", "photos//a"):  # by obstore, and by boto3
            storage.put(key, b"x", "image/png")
            assert storage.get(key).data == b"x"
        storage.close()


def allow(url, actions):
    """Let moto judge no more of so many requests, then all by the policies of their users."""
    address, text = f"{url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(
        urllib.request.Request(address, str(actions).encode(), text), timeout=30
    ).close()


def policy_in_documents():
    blocks = documents.blocks(documents.ROOT / "docs" / "operating.md")
    (text,) = [block.text for block in blocks if '"Statement"' in block.text]
    policy = json.loads(text)
    # Of a deletion of several objects moto asks for that of the bucket, Amazon for each object's.
    extra = {"Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::my-bucket"}
    policy["Statement"].append({"Effect": "Allow", **extra})
    return policy


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Give a store that enforces policies, and the keys of a user who has that of the documents."""
    with moto(tmp_path_factory.mktemp("moto"), INITIAL_NO_AUTH_ACTION_COUNT="10000") as url:
        own = {"endpoint_url": url, "region_name": REGION}
        own |= {"aws_access_key_id": "AKIAROOT", "aws_secret_access_key": "secret"}
        s3, iam = boto3.client("s3", **own), boto3.client("iam", **own)
        for bucket in ("my-bucket", "of-others"):
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        s3.put_object(Bucket="of-others", Key="photo", Body=b"theirs")
        iam.create_user(UserName="camfleet")
        iam.put_user_policy(
            UserName="camfleet",
            PolicyName="camfleet",
            PolicyDocument=json.dumps(policy_in_documents()),
        )
        key = iam.create_access_key(UserName="camfleet")["AccessKey"]
        allow(url, 0)
        yield url, key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def storage(guarded, keys):
    url, access, secret = guarded
    keys(access, secret)
    made = Storage(settings_of(url))
    yield made
    made.close()


def test_the_policy_of_the_documents_is_enough(storage, tmp_path):
    storage.set_up()
    assert {what for what, check in look(storage).items() if check.costs} == set()
    for key in ("maps/a.png", "maps//a.png", "photos/ä b.jpg"):
        storage.put(key, b"content", "image/png")
        assert storage.get(key).data == b"content"
        assert storage.get_range(key, 2, 3) == b"nte"
        assert storage.exists(key)
        assert not storage.exists(f"{key}.none")
    etag = storage.get("maps/a.png").etag
    storage.replace("maps/a.png", b"changed", "image/png", etag=etag)
    storage.create("jobs/one/job.json", b"{}", "application/json")
    (tmp_path / "model").write_bytes(LARGE)
    storage.upload("models/a/model", str(tmp_path / "model"))
    storage.download("models/a/model", str(tmp_path / "copy"), limit=len(LARGE))
    assert Path(tmp_path / "copy").read_bytes() == LARGE
    assert list(storage.folders("")) == ["jobs/", "maps/", "models/", "photos/"]
    assert storage.now() > 0
    storage.delete(list(storage.keys("")))
    assert list(storage.objects("")) == []


def test_the_policy_of_the_documents_opens_nothing_else(storage):
    with pytest.raises(AccessDenied):
        storage.get("s3://of-others/photo")
    with pytest.raises(AccessDenied):
        list(storage.keys("s3://of-others/"))
    with pytest.raises(AccessDenied):
        storage.put("s3://of-others/photo", b"ours", "image/png")


@pytest.mark.parametrize(
    ("lacking", "work"),
    [
        ("s3:ListBucket", lambda storage: list(storage.keys("jobs/"))),
        ("s3:GetObject", lambda storage: storage.get("lacking")),
        ("s3:PutObject", lambda storage: storage.put("lacking", b"x", "image/png")),
        ("s3:DeleteObject", lambda storage: storage.delete(["lacking"])),
    ],
)
def test_nothing_in_the_policy_is_superfluous(guarded, keys, storage, lacking, work):
    """A user whose policy lacks one action can't do what takes it."""
    url = guarded[0]
    policy = policy_in_documents()
    for statement in policy["Statement"]:
        named = statement["Action"]
        actions = [named] if isinstance(named, str) else named
        statement["Action"] = [action for action in actions if action != lacking] or ["s3:None"]
    allow(url, 10000)
    own = {"endpoint_url": url, "region_name": REGION}
    iam = boto3.client("iam", **own)
    name = lacking.partition(":")[2]
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="less", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    storage.put("lacking", b"x", "image/png")
    allow(url, 0)
    keys(key["AccessKeyId"], key["SecretAccessKey"])
    less = Storage(settings_of(url))
    with pytest.raises(StorageUnavailable):
        work(less)
    less.close()
