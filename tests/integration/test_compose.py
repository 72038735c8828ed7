"""The servers of docker-compose.yml, run without containers: what they tell, and to whom.

The file itself, and its sentinels, are in tests/charts.
"""

import re
import subprocess
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from redis import Redis
from redis.exceptions import AuthenticationError

from camfleet.local.folder import Ports
from camfleet.local.servers import find_valkey, find_weed
from helpers.listening import listeners
from helpers.stranger import as_stranger
from helpers.waiting import wait_until

COMPOSE = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
VALUES = {
    "REDIS_PASSWORD": "redissecret",
    "S3_ACCESS_KEY": "s3key",
    "S3_SECRET_KEY": "s3secret",
    "MIN_REPLICAS": "0",
}
CONTAINER = "127.0.0.2"  # stands for the address that a container has on its network
ADDRESSES = {"0100007F": "127.0.0.1", "0200007F": CONTAINER}


def block(opening):
    """Return the lines that stand below what matches `opening`, with the variables."""
    below = re.search(rf"(?s){opening}\n((?: {{6}}[^\n]*\n)+)", COMPOSE)[1]
    filled = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: VALUES.get(found[1], ""), below)
    return [line.strip() for line in filled.splitlines()]


@pytest.fixture
def run(tmp_path):
    """Start a program in an empty folder; it's killed at the end."""
    running = []

    def start(*command, environ):
        running.append(subprocess.Popen(command, cwd=tmp_path, env=environ))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_redis_wants_the_password_that_it_reads_from_a_file(run, tmp_path):
    lines = [*block(r"  redis:\n    content: \|"), "port 0", "unixsocket redis.sock"]
    (tmp_path / "redis.conf").write_text("\n".join(lines))
    run(find_valkey(), "redis.conf", environ={})
    path = tmp_path / "redis.sock"
    wait_until(path.exists, 10)
    with Redis(unix_socket_path=str(path), password=VALUES["REDIS_PASSWORD"]) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    with Redis(unix_socket_path=str(path)) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_only_the_store_itself_leaves_its_container(run, tmp_path):
    environ = dict(
        line.split(": ", 1) for line in block("  seaweedfs:.*?environment:") if line[-1] != ":"
    )
    words = " ".join(block("  seaweedfs:.*?command: >-")).replace("0.0.0.0", CONTAINER).split()
    ports = Ports.of(tmp_path)
    places = [
        f"-{name}.port={getattr(ports, name)}" for name in ("s3", "filer", "volume", "master")
    ]
    command = [word.replace("/data", ".") for word in words]
    store = run(find_weed(), *command, *places, environ={**environ, "HOME": str(tmp_path)})
    wait_until(lambda: object_kept(f"http://{CONTAINER}:{ports.s3}"), 60)
    outside = {port for place, port in listeners(store.pid) if ADDRESSES[place] == CONTAINER}
    assert outside == {ports.s3, ports.s3 + 10_000}
    calls = ("IamCache/PutIdentity", "IamCache/RemoveIdentity", "IamCache/ListPolicies")
    asked = [("grpc", ports.s3 + 10_000, f"/messaging_pb.SeaweedS3{it}", "") for it in calls]
    asked += [
        (
            "grpc",
            ports.s3 + 10_000,
            "/s3_lifecycle_pb.SeaweedS3LifecycleInternal/LifecycleDelete",
            "",
        )
    ]
    assert set(as_stranger(asked)) == {"UNAUTHENTICATED"}
    assert as_stranger([("http", ports.s3, "GET", "/camfleet/kept")])[0][0] == 403


def object_kept(url):
    """Return whether an object, written with the key, reads back."""
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=VALUES["S3_ACCESS_KEY"],
        aws_secret_access_key=VALUES["S3_SECRET_KEY"],
    )
    try:
        s3.create_bucket(Bucket="camfleet")
        s3.put_object(Bucket="camfleet", Key="kept", Body=b"x")
        return s3.get_object(Bucket="camfleet", Key="kept")["Body"].read() == b"x"
    except (BotoCoreError, ClientError):
        return False
