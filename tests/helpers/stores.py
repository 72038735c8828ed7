"""Other stores than the stack's: servers of their own, some of them from .tools/stores."""

import json
import os
import urllib.request
from contextlib import contextmanager

from camfleet.local import private, process, servers
from helpers.documents import ROOT
from helpers.metrics import free_port
from helpers.waiting import wait_until

TOOL = ROOT / ".tools" / "stores"
_NODE = TOOL / "node_modules"
_SECONDS = 60


@contextmanager
def seaweedfs(folder, access, secret, *, domain):
    """Start a store that knows buckets by names of hosts, `bucket.domain`; give its address."""
    port, inner = free_port(), [free_port() for _ in range(4)]
    private.write(folder / "identities.json", _identities(access, secret))
    names = ("filer.port", "volume.port", "master.port", "admin.port")
    command = [
        str(servers.find_weed()),
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.port={port}",
        f"-s3.domainName={domain}",
        f"-s3.config={folder / 'identities.json'}",
        *(f"-{name}={number}" for name, number in zip(names, inner, strict=True)),
        *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false"),
        *("-admin.ui=false", "-master.telemetry=false", "-volume.preStopSeconds=0"),
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
    ]
    with _server(command, folder, f"http://127.0.0.1:{port}/healthz"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def moto(folder, **environ):
    """Start moto's server, which keeps everything in memory; give its address."""
    port = free_port()
    command = [TOOL / "bin" / "moto_server", "-H", "127.0.0.1", "-p", port]
    with _server(command, folder, f"http://127.0.0.1:{port}/moto-api/", **environ):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def s3rver(folder):
    """Start s3rver, which ignores conditions; its keys are both `S3RVER`."""
    port = free_port()
    command = ["node", _NODE / "s3rver" / "bin" / "s3rver.js", "-d", folder, "-p", port]
    command += ["-a", "127.0.0.1", "--no-vhost-buckets"]
    with _server(command, folder, f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def azurite(folder):
    """Start Azurite, whose account is `devstoreaccount1`; give the account's address."""
    port = free_port()
    program = _NODE / "azurite" / "dist" / "src" / "blob" / "main.js"
    command = ["node", program, "--blobHost", "127.0.0.1", "--blobPort", port]
    command += ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with _server(command, folder, f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}/devstoreaccount1"


@contextmanager
def google(folder, buckets):
    """Start fake-gcs-server with the files of a folder: a folder for each bucket."""
    port = free_port()
    (program,) = TOOL.glob("lib/*/site-packages/fake_gcs*/vendor/fake-gcs-server/bin/*")
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", port]
    command += ["-backend", "memory", "-data", buckets, "-public-host", f"127.0.0.1:{port}"]
    with _server(command, folder, f"http://127.0.0.1:{port}/storage/v1/b"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _server(command, folder, url, **environ):
    """Run a server until the block's end; the block begins once something answers at `url`."""
    log = folder / "server.log"
    server = process.spawn(
        [str(word) for word in command],
        log=log,
        cwd=folder,
        environ={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
    )
    try:
        wait_until(lambda: _answers(url) or server.poll() is not None, _SECONDS)
        assert server.poll() is None, log.read_text()
        yield
    finally:
        process.kill(server)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return bool(error.close() is None)
    except OSError:
        return False


def _identities(access, secret):
    key = {"accessKey": access, "secretKey": secret}
    identity = {"name": "camfleet", "credentials": [key], "actions": ["Admin"]}
    return json.dumps({"identities": [identity]})
