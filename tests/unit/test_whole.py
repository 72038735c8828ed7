"""What a killed process left half-written is deleted by the next one, which says so."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from camfleet.audit.files import write as write_report
from camfleet.errors import InvalidRequest
from camfleet.pictures.files import Folder
from camfleet.temporary import sweep
from camfleet.whole import whole_file, whole_folder

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
from camfleet.temporary import sweep
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


@pytest.mark.parametrize("there", [False, True])
def test_of_two_that_write_the_same_folder_the_first_one_to_end_stays(tmp_path, there):
    if there:
        (tmp_path / "out").mkdir()

    def late():
        with whole_folder(tmp_path / "out"), whole_folder(tmp_path / "out") as other:
            (other / "file").write_bytes(b"whole")

    with pytest.raises(InvalidRequest, match="is there already"):
        late()
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_bytes() == b"whole"
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["file"]


def test_an_empty_folder_stays_the_one_it_is_and_has_all_or_nothing(tmp_path, monkeypatch):
    out = tmp_path / "out"
    (out / "lost+found").mkdir(parents=True)  # as in an empty file system
    out.chmod(0o750)
    monkeypatch.chdir(out)
    before = out.stat()
    with pytest.raises(ZeroDivisionError), whole_folder(Path()) as part:
        (part / "file").write_bytes(b"%d" % (1 / 0))
    assert [one.name for one in out.iterdir()] == ["lost+found"]
    with whole_folder(Path()) as part:
        (part / "deep").mkdir()
        (part / "deep" / "file").write_bytes(b"whole")
        (part / "file").write_bytes(b"whole")
        assert not Path("file").exists()
    assert sorted(one.name for one in out.iterdir()) == ["deep", "file", "lost+found"]
    assert Path("deep/file").read_bytes() == b"whole"  # from a shell that is there
    after = out.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    with pytest.raises(InvalidRequest, match="is there already"), whole_folder(out):
        pytest.fail("it isn't empty")


def test_a_folder_that_cannot_get_all_its_files_gets_none(tmp_path):
    def write():
        with whole_folder(tmp_path) as part:
            for name in ("a", "b", "c"):
                (part / name).write_bytes(b"whole")
            (tmp_path / "camfleet-00000001.part").mkdir()  # another one's
            (part / "camfleet-00000001.part").write_bytes(b"can't replace a folder")
            (part / "camfleet-00000002.part").write_bytes(b"after it")

    with pytest.raises(InvalidRequest, match="can't be written"):
        write()
    assert [one.name for one in tmp_path.iterdir()] == ["camfleet-00000001.part"]


def test_what_a_killed_process_left_in_an_empty_folder_makes_room(tmp_path, caplog):
    code = FOLDER.replace('path / "out"', "path")
    with writer(code, tmp_path):
        pass
    with whole_folder(tmp_path) as part:
        (part / "file").write_bytes(b"whole")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert "left half-written" in caplog.text


def test_a_process_that_is_killed_while_files_move_leaves_a_sign_that_some_are_missing(tmp_path):
    code = """
import camfleet.whole
rename = Path.rename
def slow(one, other):
    if one.name == "b":
        wait()
    return rename(one, other)
Path.rename = slow
with camfleet.whole.whole_folder(path) as part:
    for name in "abc":
        (part / name).write_bytes(b"whole")
"""
    with writer(code, tmp_path):
        pass
    left = sorted(one.name for one in tmp_path.iterdir())
    assert left == ["a", "camfleet-00000000.part"]
    with pytest.raises(InvalidRequest, match="is there already"), whole_folder(tmp_path):
        pytest.fail("a part of an export isn't an empty folder")
    assert sorted(one.name for one in tmp_path.iterdir()) == left


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


@pytest.mark.parametrize("write", [into_file, picture, report])
def test_a_file_that_nobody_may_write_is_not_replaced(tmp_path, write):
    new = tmp_path / "new"
    new.write_bytes(b"keep")
    new.chmod(0o444)
    with pytest.raises(InvalidRequest, match=r"can't be written.*read-only.*another name.*chmod"):
        write(tmp_path)
    assert new.read_bytes() == b"keep"
    assert list(tmp_path.iterdir()) == [new]
    new.chmod(0o644)
    write(tmp_path)
    assert new.read_bytes() == b"whole"


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_is_open_already_is_written_to_behind_what_it_has(tmp_path, place):
    code = """
import sys
from pathlib import Path
from camfleet.whole import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(b"rows\\n")
"""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    number = log.stat().st_ino
    with log.open("ab") as out:
        subprocess.run([sys.executable, "-c", code, place], stdout=out, check=True)
        out.write(b"behind\n")
    assert log.read_bytes() == b"before\nrows\nbehind\n"
    assert log.stat().st_ino == number
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, check=True)
    assert done.stdout == b"rows\n"


def test_a_file_that_is_not_open_is_named():
    with pytest.raises(InvalidRequest, match="/dev/fd/999 can't be written: Bad file descriptor"):
        into_file_named(Path("/dev/fd/999"))


def into_file_named(path):
    with whole_file(path) as file:
        file.write(b"")


def test_a_file_that_is_mounted_gets_what_was_written(tmp_path, monkeypatch):
    """A container's file may be another one's, mounted over it: nothing can take its place."""
    new = tmp_path / "new"
    new.write_bytes(b"something longer before")
    replace = Path.replace

    def busy(one, other):
        if other == new:
            raise OSError(16, os.strerror(16))
        return replace(one, other)

    monkeypatch.setattr(Path, "replace", busy)
    into_file(tmp_path)
    assert new.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [new]
