"""What the local stack gives to other users of the machine: nothing, on any port or socket."""

import json
import os
import re
import socket
import stat
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import boto3
import pytest
import trustme
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from camfleet.errors import StackError
from camfleet.local import seaweedfs_tls
from camfleet.local.folder import HOST, Ports
from camfleet.local.stack import LocalStack
from camfleet.storage.storage import Storage
from helpers.listening import listeners, socket_files
from helpers.stranger import as_stranger

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BUCKET = "/buckets/camfleet"
PATHS = (
    *("/", "/camfleet/secret", f"{BUCKET}/secret", "/camfleet", "/buckets/", "/debug/pprof/"),
    *("/dir/assign", "/dir/status", "/dir/lookup?volumeId=1", "/vol/status", "/cluster/status"),
    *("/status", "/stats/disk", "/ui/index.html", "/metrics", "/api/users", "/api/s3/buckets"),
    *("/1,01", "/admin/assign_volume?volume=9", "/col/delete?collection=camfleet"),
)
SECRET = b"not for everyone"


def text(number, value):
    """Return a field of a protobuf message, in hexadecimal."""
    data = value.encode() if isinstance(value, str) else bytes.fromhex(value[0])
    return bytes([number << 3 | 2, len(data)]).hex() + data.hex()


# Two ways in that SeaweedFS has had: writing an object into the filer, and naming an S3 user.
ENTRY = text(1, "planted") + text(9, "content")
CREATE = ("/filer_pb.SeaweedFiler/CreateEntry", text(1, BUCKET) + text(2, [ENTRY]))
DELETE = ("/filer_pb.SeaweedFiler/DeleteEntry", text(1, BUCKET) + text(2, "secret"))
KEY = text(1, "strangerskey") + text(2, "strangerssecret")
USER = text(1, "stranger") + text(2, [KEY]) + text(3, "Admin")
NAME_USER = ("/messaging_pb.SeaweedS3IamCache/PutIdentity", text(1, [USER]))
GROW = ("/master_pb.Seaweed/Assign", "0801")
CALLS = [CREATE, DELETE, NAME_USER, GROW, ("/volume_server_pb.VolumeServer/VolumeServerStatus", "")]


@pytest.fixture(scope="module")
def ports(stack):
    """Give every TCP port of each of the stack's processes."""
    return {name: [port for _, port in listeners(it.pid)] for name, it in stack.processes.items()}


@pytest.fixture
def storage(settings):
    storage = Storage(settings)
    storage.put("secret", SECRET, "text/plain")
    yield storage
    storage.close()


def test_no_port_serves_grpc_to_a_stranger(ports, storage, settings):
    calls = [("grpc", port, *call) for port in ports["seaweedfs"] for call in CALLS]
    assert set(as_stranger(calls)) == {"UNAVAILABLE"}
    assert storage.get("secret").data == SECRET
    assert list(storage.keys("planted")) == []
    refusal(client(settings, "strangerskey", "strangerssecret").list_buckets)


@pytest.mark.parametrize("certificate", ["none", "of another authority"])
def test_tls_is_for_those_with_the_stacks_own_certificate(ports, certificate):
    own = trustme.CA().issue_cert("127.0.0.1", common_name="camfleet")
    pair = own.private_key_and_cert_chain_pem.bytes().decode() if certificate != "none" else ""
    calls = [("tls", port, pair) for port in ports["seaweedfs"]]
    assert set(as_stranger(calls)) == {""}


def test_no_port_tells_a_stranger_anything_over_http(ports, storage):
    methods = ("GET", "PUT", "POST", "DELETE")
    asked = [
        ("http", port, way, path)
        for port in ports["seaweedfs"]
        for way in methods
        for path in PATHS
    ]
    for call, answer in zip(asked, as_stranger(asked), strict=True):
        status, body = answer or (400, "")
        assert status in (400, 401, 403, 404, 405) or not body, (call, answer)
        assert SECRET.decode() not in body, call
    assert storage.get("secret").data == SECRET


def test_a_store_that_would_let_everybody_in_is_not_left_running(tmp_path, monkeypatch):
    monkeypatch.setattr(seaweedfs_tls, "configuration", lambda _folder: "")
    own = LocalStack(tmp_path, worker=False)
    with pytest.raises(StackError, match=r"every user of this machine use its port.*extra `local`"):
        own.start()
    assert own.processes == {}


def test_sockets_open_for_their_owner_only(stack):
    pids = [process.pid for process in stack.processes.values()]
    found = {
        str(Path(f"/proc/{pid}/cwd").readlink() / it) for pid in pids for it in socket_files(pid)
    }
    assert len(found) == 8
    assert {oct(stat.S_IMODE(os.lstat(path).st_mode)) for path in found} == {"0o700"}
    if os.getuid() == 0:
        answers = as_stranger([("connect", path) for path in found])
        assert set(answers) == {"PermissionError"}


def test_folders_and_files_open_for_their_owner_only(stack):
    models = stack.data / "models"  # other tests write there, in this process
    paths = [
        path for path in (stack.data, *stack.data.rglob("*")) if not path.is_relative_to(models)
    ]
    assert len(paths) > 30
    assert [it for it in paths if it.lstat().st_mode & 0o077 and it.suffix != ".vif"] == []
    if os.getuid() == 0:
        with opened(stack.data.parent), opened(stack.data.parent.parent):  # of pytest, as private
            answers = as_stranger([("read", str(path)) for path in paths])
        assert set(answers) == {"PermissionError"}


@contextmanager
def opened(folder):
    folder.chmod(0o711)
    yield
    folder.chmod(0o700)


def test_valkey_does_nothing_without_its_password(ports):
    (port,) = ports["valkey"]
    commands = (
        "PING",
        "CONFIG GET requirepass",
        "KEYS *",
        "AUTH wrong",
        "AUTH default x",
        "HELLO 3",
    )
    answers = as_stranger([("raw", port, f"{command}\r\n") for command in commands])
    assert all(re.match("-(NOAUTH|WRONGPASS)", answer) for answer in answers), answers


def test_a_strangers_server_on_valkeys_port_is_not_sent_the_password(tmp_path, monkeypatch):
    with socket.create_server((HOST, 0)) as strangers:
        taken = replace(Ports.of(tmp_path), valkey=strangers.getsockname()[1])
        monkeypatch.setattr(Ports, "of", lambda _data: taken)  # taken after it was looked for
        with pytest.raises(StackError, match="Valkey ended"):
            LocalStack(tmp_path, worker=False).start()
        strangers.setblocking(False)
        with pytest.raises(BlockingIOError):
            strangers.accept()


def test_a_worker_listens_on_nothing_and_nothing_shows_a_secret(tmp_path):
    with LocalStack(tmp_path, worker=True) as own:
        own.wait_for_worker(120)
        worker = family(own.processes["worker"].pid)
        assert [(listeners(pid), socket_files(pid)) for pid in worker] == [([], [])] * len(worker)
        pids = [pid for child in own.processes.values() for pid in family(child.pid)]
        shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    shown += [log.read_text() for log in tmp_path.glob("logs/*")]
    secrets = json.loads((tmp_path / "credentials.json").read_text()).values()
    assert len(shown) > 6
    assert not any(secret in text for secret in secrets for text in shown)


def family(pid):
    """Return a process and all that descend from it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for it in threads for child in (it / "children").read_text().split()]
    return [pid, *(each for child in children for each in family(child))]


def test_the_store_refuses_whoever_does_not_sign(settings, storage):
    for stranger in (
        client(settings),
        client(settings, "AKIA", "wrong"),
        client(settings, "", "x"),
    ):
        for call, arguments in (
            (stranger.list_buckets, {}),
            (stranger.list_objects_v2, {"Bucket": "camfleet"}),
            (stranger.get_object, {"Bucket": "camfleet", "Key": "secret"}),
            (stranger.put_object, {"Bucket": "camfleet", "Key": "planted", "Body": b"x"}),
            (stranger.delete_object, {"Bucket": "camfleet", "Key": "secret"}),
            (stranger.get_bucket_policy, {"Bucket": "camfleet"}),
            (stranger.create_bucket, {"Bucket": "planted"}),
        ):
            refusal(call, **arguments)
    assert storage.get("secret").data == SECRET
    assert list(storage.keys("planted")) == []


def test_the_store_hands_out_no_rights(settings, storage, ports):
    link = client(settings, "AKIA", "wrong").generate_presigned_url
    place = {"Bucket": "camfleet", "Key": "secret"}
    paths = [link(name, Params=place) for name in ("get_object", "put_object", "delete_object")]
    methods = ("GET", "PUT", "DELETE")
    port = urlsplit(settings.s3_endpoint).port
    asked = [("http", port, *each) for each in zip(methods, map(path_of, paths), strict=True)]
    for action in ("AssumeRole", "GetSessionToken", "CreateUser", "CreateAccessKey", "ListUsers"):
        asked += [("http", port, "POST", f"/?Action={action}&Version=2011-06-15&UserName=stranger")]
    asked += [("form", port, "/camfleet", "planted")]
    for call, (status, body) in zip(asked, as_stranger(asked), strict=True):
        assert status in (400, 403, 405), (call, body)
    assert storage.get("secret").data == SECRET
    assert list(storage.keys("planted")) == []


def path_of(url):
    return urlunsplit(("", "", *urlsplit(url)[2:]))


def client(settings, *keys):
    """Return a client with other keys, or none."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=keys[0] if keys else None,
        aws_secret_access_key=keys[1] if keys else None,
        config=Config(signature_version="s3v4" if keys else UNSIGNED),
    )


def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
