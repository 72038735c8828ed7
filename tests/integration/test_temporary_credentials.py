"""Keys that come from roles: asked for, renewed in time by both libraries, or missed by name."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from camfleet.errors import StorageUnavailable
from camfleet.settings import Settings
from camfleet.storage import obstore
from camfleet.storage.storage import Storage
from helpers.signing_front import a_signing_front
from helpers.token_service import a_token_service
from helpers.waiting import wait_until

ROLE = "arn:aws:iam::123456789012:role/camfleet"
BOTH = ("a", "a//b")  # by obstore, and by boto3


@pytest.fixture
def service():
    with a_token_service() as made:
        yield made


@pytest.fixture
def front(stack, service):
    """Give what stands before the stack's store, and takes keys of the service only."""
    keys = stack.environ["AWS_ACCESS_KEY_ID"], stack.environ["AWS_SECRET_ACCESS_KEY"]
    with a_signing_front(stack.settings.s3_endpoint, *keys) as made:
        made.before = service.judge
        yield made


@pytest.fixture
def without_keys(stack, monkeypatch, tmp_path):
    """Take all credentials away, and give the folder of AWS' configuration."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.fixture
def web_identity(service, without_keys, monkeypatch):
    """Set what Kubernetes sets for a service account with a role; give the token's file."""
    token = without_keys / "token"
    token.write_text("first token")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    return token


@pytest.fixture
def assumed_role(service, without_keys, monkeypatch):
    """Set a profile that takes a role with keys of another."""
    (without_keys / "credentials").write_text(
        "[own]\naws_access_key_id = AKIAOWN\naws_secret_access_key = secret\n"
    )
    (without_keys / "config").write_text(
        f"[profile fleet]\nrole_arn = {ROLE}\nsource_profile = own\nrole_session_name = camfleet\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "fleet")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)


@pytest.fixture
def open_storage(front):
    """Give a function that opens the storage behind the front; what's opened is closed."""
    opened = []

    def start(endpoint=front.url, **how):
        settings = Settings(redis_url="", bucket="camfleet", s3_endpoint=endpoint)
        opened.append(Storage(settings, **how))
        return opened[-1]

    yield start
    for storage in opened:
        storage.close()


@pytest.mark.parametrize(
    ("way", "action"),
    [("web_identity", "AssumeRoleWithWebIdentity"), ("assumed_role", "AssumeRole")],
)
def test_both_libraries_use_the_keys_of_a_role(request, service, open_storage, way, action):
    request.getfixturevalue(way)
    storage = open_storage()
    for key in BOTH:
        storage.put(f"roles/{key}", b"x", "text/plain")
        assert storage.get(f"roles/{key}").data == b"x"
    assert {asked["Action"] for asked in service.asked} == {action}
    assert {asked["RoleArn"] for asked in service.asked} == {ROLE}
    assert len(service.asked) == 1  # keys are kept
    agents = {agent.partition("/")[0] for _key, agent in service.used}
    assert agents == {"object_store", "Boto3"}


def test_both_libraries_go_on_when_keys_have_ended(service, web_identity, open_storage):
    service.seconds = 1.0
    storage = open_storage()
    for key in BOTH:
        storage.put(f"ended/{key}", b"x", "text/plain")
    web_identity.write_text("second token")  # which Kubernetes renews, too
    for key in BOTH:
        wait_until(service.all_over, 30)
        assert storage.get(f"ended/{key}").data == b"x"
    wait_until(service.all_over, 30)
    assert len(list(storage.keys("ended/"))) == 2
    assert {asked["WebIdentityToken"] for asked in service.asked} == {
        "first token",
        "second token",
    }


def test_obstore_asks_for_new_keys_by_itself(service, web_identity, open_storage, monkeypatch):
    """It asks again five minutes before the end that it's told: here after a moment."""
    monkeypatch.setattr(obstore, "_CREDENTIALS", timedelta(minutes=5, milliseconds=100))
    service.seconds = 60.0  # so near to their end that botocore renews them whenever it's asked
    storage = open_storage()
    storage.put("renewed/a", b"x", "text/plain")

    def keys():
        storage.get("renewed/a")
        return {key for key, agent in service.used if agent.startswith("object_store")}

    wait_until(lambda: len(keys()) >= 3, 30)


@pytest.mark.parametrize("bucket", ["camfleet", "of-others"])
@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (400, "ExpiredTokenException"), (400, "InvalidIdentityToken")],
)
@pytest.mark.parametrize("key", BOTH)
def test_a_role_that_is_refused_is_never_the_objects_fault(
    service, web_identity, open_storage, bucket, status, code, key
):
    service.refuses = status, code
    with pytest.raises(StorageUnavailable, match=f"no credentials .*{code}.*AWS_ROLE_ARN"):
        open_storage().get(f"s3://{bucket}/{key}")


@pytest.mark.parametrize("key", BOTH)
def test_a_service_of_tokens_that_is_away_is_named(web_identity, open_storage, monkeypatch, key):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable, match=r"no credentials .*no answer from 127\.0\.0\.1:9"):
        open_storage().get(key)


@pytest.mark.parametrize("key", BOTH)
def test_a_service_of_tokens_that_never_answers_is_not_waited_for(
    web_identity, open_storage, monkeypatch, key
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{silent}")
        before = time.monotonic()
        with pytest.raises(StorageUnavailable, match=f"no answer from {silent}"):
            open_storage(seconds=0.5).get(key)
        assert time.monotonic() - before < 20


@pytest.mark.parametrize("key", BOTH)
def test_a_store_that_is_away_is_not_taken_for_the_service(web_identity, open_storage, key):
    with pytest.raises(StorageUnavailable, match=r"no answer from the object store"):
        open_storage("http://127.0.0.1:9").get(key)


def test_a_missing_token_is_named(web_identity, open_storage):
    web_identity.unlink()
    with pytest.raises(StorageUnavailable, match=str(web_identity)):
        open_storage().get("a")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_PROFILE": "nobody"}, "nobody"),
        ({"AWS_ACCESS_KEY_ID": "alone"}, "AWS_SECRET_ACCESS_KEY"),
    ],
    ids=["profile", "half a key"],
)
@pytest.mark.parametrize(
    "verb",
    [
        lambda storage: storage.get("a"),
        lambda storage: storage.get("a//b"),
        lambda storage: list(storage.keys("a")),
        lambda storage: storage.delete(["a"]),
        lambda storage: storage.now(),
        lambda storage: storage.presign("a", 60),
        lambda storage: storage.set_up(),
    ],
    ids=["get", "get by boto3", "keys", "delete", "now", "presign", "set_up"],
)
def test_what_lacks_in_the_configuration_is_named(
    without_keys, open_storage, monkeypatch, variables, reason, verb
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageUnavailable, match=f"no credentials .*{reason}"):
        verb(open_storage())


def test_what_a_program_says_that_gives_keys_is_not_shown(without_keys, open_storage):
    words = "sh -c 'echo the-secret >&2; exit 1'"
    (without_keys / "config").write_text(f"[default]\ncredential_process = {words}\n")
    with pytest.raises(StorageUnavailable, match=r"no credentials .*custom-process") as caught:
        open_storage().get("a")
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("key", BOTH)
@pytest.mark.parametrize("of_a_role", [False, True], ids=["own", "of a role's source"])
def test_a_program_that_gives_no_keys_is_ended_and_named(
    without_keys, open_storage, service, monkeypatch, tmp_path, key, of_a_role
):
    started = tmp_path / "started"
    program = f"credential_process = sh -c 'echo $$ >> {started}; sleep 30; true'\n"
    role = f"[profile fleet]\nrole_arn = {ROLE}\nsource_profile = own\n[profile own]\n"
    (without_keys / "config").write_text((role if of_a_role else "[profile fleet]\n") + program)
    monkeypatch.setenv("AWS_PROFILE", "fleet")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    storage = open_storage(seconds=0.25)
    before = time.monotonic()
    with pytest.raises(StorageUnavailable, match="credential_process gives no keys within 1 s"):
        storage.get(key)
    assert time.monotonic() - before < 10
    (pid,) = started.read_text().split()  # once, though both libraries may have asked
    assert not Path(f"/proc/{pid}").exists()


def test_who_waited_for_a_program_in_vain_is_told_so_at_once(without_keys, open_storage, tmp_path):
    started = tmp_path / "started"
    words = f"sh -c 'echo $$ >> {started}; sleep 30; true'"
    (without_keys / "config").write_text(f"[default]\ncredential_process = {words}\n")
    storage = open_storage(seconds=1)

    def ask(_number):
        with pytest.raises(StorageUnavailable, match="gives no keys within 4 s"):
            storage.get("a")

    before = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    assert time.monotonic() - before < 10, "one after the other"


@pytest.fixture
def machine(service, without_keys, monkeypatch):
    """Set what a machine with a role has."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)


@pytest.fixture
def container(service, without_keys, monkeypatch):
    """Set what a container with a role has."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/keys")


@pytest.fixture
def container_of_a_profile(container, without_keys, monkeypatch, service):
    """Set a profile that takes a role with the keys of a container."""
    (without_keys / "config").write_text(
        f"[profile fleet]\nrole_arn = {ROLE}\ncredential_source = EcsContainer\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "fleet")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)


WAYS = ("web_identity", "machine", "container", "container_of_a_profile")


@pytest.mark.parametrize("way", WAYS)
def test_both_libraries_use_the_keys_of_every_server_that_gives_some(
    request, service, open_storage, way
):
    request.getfixturevalue(way)
    storage = open_storage()
    for key in BOTH:
        storage.put(f"keys-of-servers/{key}", b"x", "text/plain")
        assert storage.get(f"keys-of-servers/{key}").data == b"x"
    agents = {agent.partition("/")[0] for _key, agent in service.used}
    assert agents == {"object_store", "Boto3"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", BOTH)
def test_who_gives_keys_a_byte_now_and_then_is_not_waited_for(
    request, service, open_storage, way, key
):
    request.getfixturevalue(way)
    service.drips = 0.1
    before = time.monotonic()
    with pytest.raises(StorageUnavailable, match=r"no credentials |there are none"):
        open_storage(seconds=0.5).get(key)
    assert time.monotonic() - before < 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", BOTH)
def test_an_endless_answer_of_who_gives_keys_is_not_kept(request, service, open_storage, way, key):
    request.getfixturevalue(way)
    service.endless = True
    with pytest.raises(StorageUnavailable, match=r"no credentials |there are none"):
        open_storage().get(key)
    assert service.sent < 2**28, "several attempts, and what sockets keep"
