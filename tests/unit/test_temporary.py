"""Temporary folders go with their process: the next one deletes what a killed one left."""

import os
import re
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from camfleet.temporary import sweep, temporary_folder

ROOT = Path(__file__).parents[2]
# Each has something below the folder for temporary files, or in the one it's given, and says so.
ANY = """
from camfleet.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "file").write_bytes(b"half")
    wait()
"""
MODEL = """
from types import SimpleNamespace
from camfleet.settings import Settings
from camfleet_worker.models.artifact import download
def half(key, partial, limit):
    open(partial, "wb").write(b"half")
    wait()
card = SimpleNamespace(artifact="a.keras", id="a", sha256="")
download(card, "d" * 64, Settings(model_dir=path), SimpleNamespace(download=half))
"""
MANIFEST = """
from types import SimpleNamespace
from camfleet.sources import sources
def half(source, copy):
    open(copy, "wb").write(b"half")
    wait()
next(sources.items("s3://a/b.csv", SimpleNamespace(download=half)))
"""
CERTIFICATES = """
from botocore.httpsession import get_cert_path
from camfleet.settings import Settings
from camfleet.storage.boto import BotoBackend
settings = Settings(ca_file=get_cert_path(True), s3_endpoint="https://a.invalid")
backend = BotoBackend(settings, 1, 1)
assert b"BEGIN CERTIFICATE" in backend.root_certificates
wait()
"""
BEGIN = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
def wait():
    print("there", flush=True)
    sys.stdin.read()
"""
PART = re.compile(r"camfleet-[0-9a-f]{8}\.part")
# Whose temporary folder is one that their parent process makes and deletes.
CONFINED = {"worker/camfleet_worker/models/model_file.py"}
LEAVES = re.compile(r"TemporaryDirectory|mkdtemp|mkstemp|NamedTemporaryFile|SpooledTemporaryFile")


@contextmanager
def holder(code, folder):
    """Let another process have something there; kill it at the end."""
    words = [sys.executable, "-c", BEGIN + code, folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environ = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(words, text=True, env=environ, **pipes) as process:
        assert process.stdout.readline() == "there\n"
        yield process
        process.kill()


def parts(folder):
    return [one for one in folder.rglob("*") if PART.fullmatch(one.name)]


@pytest.mark.parametrize(
    "code", [ANY, MODEL, MANIFEST, CERTIFICATES], ids=["any", "model", "manifest", "certificates"]
)
def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path, code):
    with holder(code, tmp_path):
        (left,) = parts(tmp_path)
        assert any(one.is_file() for one in left.rglob("*"))
    assert left.is_dir()
    with holder(code, tmp_path):
        (other,) = parts(tmp_path)
        assert other != left


@pytest.mark.parametrize("code", [ANY, CERTIFICATES], ids=["any", "certificates"])
def test_of_a_process_that_ends_by_itself_nothing_is_left(tmp_path, code):
    with holder(code, tmp_path) as process:
        assert parts(tmp_path) != []
        process.stdin.close()
        assert process.wait(60) == 0
    assert parts(tmp_path) == []


def test_what_a_living_process_has_is_left_alone(tmp_path):
    with holder(ANY, tmp_path):
        before = parts(tmp_path)
        sweep(tmp_path)
        with temporary_folder(tmp_path):
            pass
        assert parts(tmp_path) == before


def test_what_is_another_users_is_left_alone(tmp_path, monkeypatch):
    with holder(ANY, tmp_path):
        pass
    before = parts(tmp_path)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)  # whose files these aren't
    sweep(tmp_path)
    assert parts(tmp_path) == before
    monkeypatch.undo()
    sweep(tmp_path)
    assert parts(tmp_path) == []


def test_a_folder_is_the_users_alone_and_gone_at_the_end_also_after_an_error(tmp_path):
    def fail():
        with temporary_folder(tmp_path) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_leaves_the_block_deletes_nothing(tmp_path):
    child = ended = None
    try:
        with temporary_folder(tmp_path) as folder:
            child = os.fork()
            if child:
                _, ended = os.waitpid(child, 0)
    finally:
        if child == 0:
            os._exit(0 if folder.is_dir() else 1)
    assert ended == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_that_outlives_a_killed_process():
    """Of `tempfile` only files are used that have no name; all else is `temporary_folder`'s."""
    found = {
        str(path.relative_to(ROOT))
        for side in ("producer", "worker")
        for path in (ROOT / side).rglob("*.py")
        if LEAVES.search(path.read_text())
    }
    assert found == CONFINED
