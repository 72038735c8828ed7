"""A process that works on what strangers made has limits, no network, and may die of it."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from camfleet.errors import InternalError, LayerRefused, ModelRefused
from camfleet.registry.cards import Card, CardInput
from camfleet.registry.registry import Registry
from camfleet.settings import Settings
from camfleet_worker.models import build as build_module
from camfleet_worker.models.build import ModelKey, ModelStore
from camfleet_worker.models.memory import TooLarge
from camfleet_worker.process import confined
from camfleet_worker.process.confinement import Limits

LIMITS = Limits(memory=2**30, seconds=60)


@pytest.fixture
def do(tmp_path):
    """Return a function that has a confined process do something, and returns what it answers."""
    folder = tmp_path / "own"
    folder.mkdir()

    def run(*deed, limits=LIMITS):
        request = json.dumps(deed).encode()
        reply = confined.run("helpers.hostile", request, folder=folder, limits=limits, name="net")
        return json.loads(reply)

    return run


@pytest.mark.parametrize("deed", ["eat_memory", "hide_want_of_memory"])
def test_what_needs_more_memory_than_allowed_is_refused_with_the_setting(do, deed):
    with pytest.raises(
        ModelRefused, match=r"model net needs more memory than 1 GiB.*CAMFLEET_MODEL_LOAD_MEMORY"
    ):
        do(deed)


def test_what_takes_longer_than_allowed_is_ended_and_refused_with_the_setting(do):
    with pytest.raises(
        ModelRefused, match=r"model net took longer than 2 s.*CAMFLEET_MODEL_LOAD_SECONDS"
    ):
        do("spin", limits=LIMITS._replace(seconds=2))


def test_a_reply_of_what_ran_out_of_time_is_not_believed(do):
    with pytest.raises(ModelRefused, match="CAMFLEET_MODEL_LOAD_SECONDS"):
        do("forge_a_reply_and_spin", limits=LIMITS._replace(seconds=2))


def test_a_bug_names_the_model(do):
    with pytest.raises(InternalError, match="loading model net broke: TypeError"):
        do("write")


def test_a_crash_is_the_models_fault(do):
    with pytest.raises(ModelRefused, match=r"loaded model net was ended by SIGSEGV: the file"):
        do("dump_core")


@pytest.mark.parametrize(
    ("deed", "words"),
    [(("end_by", int(signal.SIGKILL)), "was killed by SIGKILL"), (("leave", 3), "exited: 3")],
)
def test_another_end_is_not_the_models_fault_and_said(do, deed, words):
    with pytest.raises(InternalError, match=words):
        do(*deed)


@pytest.mark.parametrize(
    "deed",
    [
        ("open_socket", "AF_INET"),
        ("open_socket", "AF_INET6"),
        ("open_socket", "AF_UNIX"),
        ("open_socket", "AF_NETLINK"),
        ("fork",),
        ("start_a_program",),
        ("read_the_parents_environment",),
        ("stop_the_parent",),
    ],
    ids="-".join,
)
def test_network_and_other_processes_are_out_of_reach(do, deed):
    with pytest.raises(
        ModelRefused, match=r"PermissionError: .*models are loaded without network, in a process"
    ):
        do(*deed)


def test_limits_cannot_be_lifted(do):
    with pytest.raises(InternalError, match="not allowed to raise maximum limit"):
        do("lift_limits")


@pytest.mark.parametrize("deed", ["write", "remove", "adopt"])
def test_no_file_outside_its_own_folder_is_changed(do, tmp_path, deed):
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(
        (ModelRefused, InternalError), match=r"PermissionError|Invalid cross-device link"
    ):
        do(deed, str(path))
    assert path.read_text() == "precious"
    do("write", str(tmp_path / "own" / "file"))
    assert (tmp_path / "own" / "file").read_text() == "was here"


def test_it_sees_no_secrets_and_no_files_of_the_worker(do, tmp_path, monkeypatch):
    secrets = ("AWS_SECRET_ACCESS_KEY", "CAMFLEET_REDIS_URL", "HTTPS_PROXY", "ANYTHING_ELSE")
    for name in secrets:
        monkeypatch.setenv(name, "hunter2")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        seen = do("tell")
    assert "hunter2" not in json.dumps(seen["environment"])
    assert len(seen["files"]) == 4, "standard streams, and the folder that lists them"
    assert seen["folder"] == seen["environment"]["TMPDIR"] == str(tmp_path / "own")
    assert seen["core"] == [0, 0]
    assert "NoNewPrivs:\t1" in seen["processes"]
    assert "CapPrm:\t0000000000000000" in seen["processes"]


def test_settings_are_sent_without_their_secrets():
    settings = Settings(redis_url="redis://:secret@host", bucket="b", batch_size=3)
    sent = confined.without_secrets(settings)
    assert (sent.redis_url, sent.webhook_secret, sent.bucket, sent.batch_size) == ("", "", "b", 3)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"result": ', "[" * 100_000, '{"error": {"code": 1, "message": 2}}'],
)
def test_a_forged_reply_that_makes_no_sense_is_none(do, text):
    with pytest.raises(InternalError, match="exited: 0"):
        do("forge_a_reply", text)


def test_a_forged_error_can_only_refuse_the_model(do):
    forged = {"error": {"code": "storage_unavailable", "message": "x" * 100_000}}
    with pytest.raises(InternalError) as caught:
        do("forge_a_reply", json.dumps(forged))
    assert len(str(caught.value)) < 5000


def test_a_reply_that_is_a_link_is_not_followed(do, tmp_path):
    (tmp_path / "other.json").write_text('{"result": 1}')
    with pytest.raises(InternalError, match="exited: 0"):
        do("forge_a_link", str(tmp_path / "other.json"))


def test_what_the_kernel_does_not_allow_is_said():
    assert confined.missing() == (), "this machine's kernel allows all of it"


CARD = Card(id="net", artifact="net.keras", input=CardInput(height=8, width=8))


@pytest.fixture
def store(monkeypatch):
    """A store whose models are all there."""
    monkeypatch.setattr(Registry, "card", lambda _self, _digest: CARD)
    monkeypatch.setattr(ModelStore, "_download", lambda _self, _card, _digest: Path("net.keras"))
    with ThreadPoolExecutor(1) as pool:
        yield ModelStore(Settings(), None, Registry(None), pool)


def test_a_model_that_has_hit_a_limit_is_not_tried_again_for_a_while(do, store, monkeypatch):
    tried = []

    def build(*_, key, **__):
        tried.append(key)
        do("eat_memory")

    monkeypatch.setattr(build_module, "build_explainer", build)
    monkeypatch.setattr(build_module, "_LONG_SECONDS", 1e9)
    keys = [ModelKey("a" * 64, layer, None) for layer in ("auto", "auto", "other")]
    for key in keys:
        with pytest.raises(ModelRefused, match="CAMFLEET_MODEL_LOAD_MEMORY"):
            store.build(key)
    assert tried == [keys[0], keys[2]]
    monkeypatch.setattr(build_module, "_REFUSED_SECONDS", 0)
    with pytest.raises(ModelRefused):
        store.build(keys[0])
    assert len(tried) == 3


@pytest.mark.parametrize("error", [TooLarge("it takes"), LayerRefused("no layer"), None])
def test_whatever_was_refused_after_a_long_time_is_not_tried_again_for_a_while(
    store, monkeypatch, error
):
    """Running it takes too much memory, say, or its layer isn't there: each try is a whole load."""
    tried = []

    def build(*_, key, **__):
        tried.append(key)
        raise error or InternalError("a library failed")

    monkeypatch.setattr(build_module, "build_explainer", build)
    kind = type(error) if isinstance(error, LayerRefused) else ModelRefused
    for seconds, times in ((1e9, 3), (-1, 4 if error else 6)):
        monkeypatch.setattr(build_module, "_LONG_SECONDS", seconds)
        for _ in range(3):
            with pytest.raises(kind if error else InternalError, match=str(error or "a library")):
                store.build(ModelKey("a" * 64, "auto", None))
        assert len(tried) == times


def test_refusals_that_are_remembered_have_a_bound(store, monkeypatch):
    def build(*_, **__):
        raise ModelRefused("no")

    monkeypatch.setattr(build_module, "build_explainer", build)
    monkeypatch.setattr(build_module, "_LONG_SECONDS", -1)
    monkeypatch.setattr(build_module, "_MOST_REFUSED", 3)
    for number in range(9):
        with pytest.raises(ModelRefused):
            store.build(ModelKey("a" * 64, f"layer-{number}", None))
    assert [key.layer for key in store._refused] == ["layer-6", "layer-7", "layer-8"]


@pytest.mark.parametrize("module", ["models.model_report", "legacy.convert"])
def test_check_and_convert_have_the_limits_of_the_settings(tmp_path, module):
    path = tmp_path / "net.h5"
    path.write_bytes(b"whatever it is")
    words = [str(path)] if module == "models.model_report" else [str(path), f"{path}.keras"]
    done = subprocess.run(
        [sys.executable, "-m", f"camfleet_worker.{module}", *words],
        env={**os.environ, "CAMFLEET_MODEL_LOAD_SECONDS": "1"},
        capture_output=True,
        check=False,
    )
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "model_refused"
    assert "net.h5 took longer than 1 s" in error["message"]
    assert [one.name for one in tmp_path.iterdir()] == ["net.h5"]


WITHOUT = """
import socket, sys
from pathlib import Path
from camfleet_worker.process import confinement, seccomp

seccomp.install = lambda libc: False
if sys.argv[2] == "nothing":
    confinement._leave_network = lambda libc: False
    confinement._landlock = lambda libc, folder: 0
missing = confinement.confine(Path.cwd(), confinement.Limits(2**30, 60))
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
except OSError:
    print("offline", *missing, sep="|")
else:
    print("online", *missing, sep="|")
"""


@pytest.mark.parametrize("rest", ["namespaces", "nothing"])
def test_without_a_filter_of_system_calls_what_is_said_to_be_missing_is(tmp_path, rest):
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, str(server.getsockname()[1]), rest],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    state, *missing = done.stdout.strip().split("|")
    assert "may start processes" in str(missing)
    assert ("with network:" in str(missing)) == (state == "online")
    if rest == "nothing":
        assert state == "online"
        assert "may write any file" in str(missing)
