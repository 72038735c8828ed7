"""What a killed process left half-written is deleted by the next one, which says so."""

import re
import subprocess
import sys
from contextlib import contextmanager

import pytest

from camfleet.audit.files import write as write_report
from camfleet.errors import InvalidRequest
from camfleet.pictures.files import Folder
from camfleet.whole import sweep, whole_file, whole_folder

# Each writes something in the folder that it's given, says so, and waits until it's killed.
FOLDER = """
from camfleet.whole import whole_folder
with whole_folder(path / "out") as part:
    (part / "deep").mkdir()
    (part / "deep" / "file").write_bytes(b"half")
    wait()
"""
FILE = """
from camfleet.whole import whole_file
with whole_file(path / "rows.csv") as file:
    file.write(b"half")
    wait()
"""
SWEEPER = """
from camfleet.whole import sweep
print("writing", flush=True)
while True:
    sweep(path)
"""
BEGIN = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
def wait():
    print("writing", flush=True)
    sys.stdin.read()
"""
PART = re.compile(r"camfleet-[0-9a-f]{8}\.part")


@contextmanager
def writer(code, path):
    """Let another process write there; kill it at the end."""
    words = [sys.executable, "-c", BEGIN + code, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        assert process.stdout.readline() == "writing\n"
        yield
        process.kill()


def parts(path):
    return [one for one in path.iterdir() if PART.fullmatch(one.name)]


@pytest.fixture(params=[FOLDER, FILE])
def left(tmp_path, request):
    """Give a folder with what a killed process left there."""
    with writer(request.param, tmp_path):
        pass
    assert len(parts(tmp_path)) == 1
    return tmp_path


def into_folder(path):
    with whole_folder(path / "new") as part:
        (part / "file").write_bytes(b"whole")


def into_file(path):
    with whole_file(path / "new") as file:
        file.write(b"whole")


def picture(path):
    Folder(path).write("new", b"whole")


def report(path):
    write_report(None, {"new": b"whole"}, str(path))


@pytest.mark.parametrize("write", [into_folder, into_file, picture, report])
def test_the_next_writer_deletes_what_a_killed_one_left_and_says_so(left, write, caplog):
    (part,) = parts(left)
    write(left)
    assert [one.name for one in left.iterdir()] == ["new"]
    (said,) = caplog.messages
    assert said == f"deleting {part}, which a process that was killed left half-written"


@pytest.mark.parametrize("code", [FOLDER, FILE])
@pytest.mark.parametrize("write", [into_folder, into_file, picture, report])
def test_what_another_process_is_writing_is_left_alone(tmp_path, code, write, caplog):
    with writer(code, tmp_path):
        (part,) = parts(tmp_path)
        write(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([part, tmp_path / "new"])
        assert caplog.messages == []


def test_what_only_looks_alike_is_left_alone(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "camfleet-00000000.part").symlink_to(target)
    for name in ("camfleet-0.part", "camfleet-0000000g.part", "a.camfleet-00000000.part"):
        (tmp_path / name).write_bytes(b"somebody's")
    before = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_of_two_that_write_the_same_folder_the_first_one_to_end_stays(tmp_path):
    def late():
        with whole_folder(tmp_path / "out"), whole_folder(tmp_path / "out") as other:
            (other / "file").write_bytes(b"whole")

    with pytest.raises(InvalidRequest, match="is there already"):
        late()
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_bytes() == b"whole"


def test_writers_that_begin_while_another_sweeps_lose_nothing(tmp_path):
    """Between making a file and locking it a writer can be taken for a dead one."""
    with writer(SWEEPER, tmp_path):
        for number in range(2000):
            with whole_file(tmp_path / str(number % 5)) as file:
                file.write(b"%d" % number)
    assert sorted(one.name for one in tmp_path.iterdir()) == list("01234")
    assert {int(one.read_bytes()) for one in tmp_path.iterdir()} == set(range(1995, 2000))


@pytest.mark.parametrize("write", [into_folder, into_file])
@pytest.mark.parametrize("name", ["new", "above"])
def test_links_that_lead_round_are_refused(tmp_path, write, name):
    (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(InvalidRequest):
        write(tmp_path if name == "new" else tmp_path / name)
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("write", [into_file, picture, report])
def test_a_file_in_anothers_place_is_closed_to_those_whom_that_was_closed_to(tmp_path, write):
    new = tmp_path / "new"
    new.write_bytes(b"secret")
    new.chmod(0o640)
    write(tmp_path)
    assert (new.read_bytes(), new.stat().st_mode & 0o777) == (b"whole", 0o640)
