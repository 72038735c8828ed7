"""An arbiter of real processes: started, restarted, stopped, and nothing of them left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.waiting import wait_until

# An arbiter of as many children as cores are named, each a program of its own; what it says goes
# to its stdout, and children write what they are into files.
ARBITER = """
import os, sys
from camfleet.local.arbiter import Arbiter
from camfleet.local.machine import Share

folder, patience, child, *cores = sys.argv[1:]
shares = [Share((int(core),), 1, None) for core in cores]
command = lambda number: [sys.executable, "-c", child, folder, str(number)]
environ = lambda number: {**os.environ, "OWN": str(number)}
say = lambda text: print(text, flush=True)
made = Arbiter(shares, command, environ, patience=float(patience), say=say, first_pause=0.01)
sys.exit(made.run())
"""
BEGIN = """
import os, pathlib, signal, subprocess, sys, time
folder, number = pathlib.Path(sys.argv[1]), sys.argv[2]
def note(name, text=""):
    (folder / f"{name}.{number}.{os.getpid()}").write_text(str(text))
def rest():  # a signal that comes just before a sleep is seen after it
    while True:
        time.sleep(0.1)
"""
POLITE = (
    BEGIN
    + """
def end(signum, _):
    note("told")
    time.sleep(0.1)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("up", f"{sorted(os.sched_getaffinity(0))} {os.environ['OWN']} {os.getsid(0) == os.getpid()}")
rest()
"""
)
DEAF = BEGIN + "signal.signal(signal.SIGTERM, lambda *_: note('told'))\nnote('up')\nrest()\n"
DYING = BEGIN + "note('up')\nsys.exit(3)\n"
ORPHANING = (
    BEGIN
    + """
away = "import time; time.sleep(0.3)"
orphan = subprocess.Popen([sys.executable, "-c", away], start_new_session=True)
note("orphan", orphan.pid)
beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
note("beside", beside.pid)
note("up")
if len(list(folder.glob("up.*"))) == 1:
    os.kill(os.getpid(), signal.SIGKILL)
rest()
"""
)


class Run:
    def __init__(self, folder, child, count=1, patience=30, ignored=None):
        self.folder = folder
        cores = [str(min(os.sched_getaffinity(0)))] * count
        command = [sys.executable, "-c", ARBITER, str(folder), str(patience), child, *cores]
        if ignored:
            command = ["env", f"--ignore-signal={ignored.name[3:]}", *command]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def files(self, name):
        """Return what children have written under a name, by their process ids."""
        found = [path for path in self.folder.glob(f"{name}.*") if path.exists()]
        return {int(path.suffix[1:]): path.read_text() for path in found}

    def up(self, count):
        wait_until(lambda: len(self.files("up")) == count, 30)
        return list(self.files("up"))

    def ended(self):
        said, _ = self.process.communicate(timeout=40)
        return self.process.returncode, said


@pytest.fixture
def start(tmp_path):
    runs = []

    def begin(*args, **options):
        runs.append(Run(tmp_path, *args, **options))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.terminate()
            run.process.communicate(timeout=40)


def lives(pid):
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _stat(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_every_signal_tells_all_processes_to_stop_once_and_waits_for_them(start, number):
    run = start(POLITE, count=3)
    pids = run.up(3)
    run.process.send_signal(number)
    code, said = run.ended()
    assert (code, said) == (0, "stopping; a second signal kills\n")
    assert sorted(run.files("told")) == sorted(pids)
    assert not any(map(lives, pids))


def test_with_nohup_it_lives_on_when_its_terminal_is_closed(start):
    run = start(POLITE, ignored=signal.SIGHUP)
    (pid,) = run.up(1)
    run.process.send_signal(signal.SIGHUP)
    os.kill(pid, signal.SIGKILL)
    run.up(2)  # which comes after the signal, had it been awaited
    assert not run.files("told")
    run.process.terminate()
    assert run.ended()[0] == 0


@pytest.mark.parametrize("ignored", [signal.SIGCHLD, signal.SIGINT, signal.SIGTERM])
def test_it_starts_again_and_stops_whatever_else_is_ignored(start, ignored):
    run = start(POLITE, ignored=ignored)
    (pid,) = run.up(1)
    os.kill(pid, signal.SIGKILL)
    run.up(2)
    run.process.send_signal(signal.SIGTERM if ignored == signal.SIGCHLD else ignored)
    code, said = run.ended()
    assert (code, said.splitlines()[-1]) == (0, "stopping; a second signal kills")


def test_each_process_has_its_cores_its_environment_and_a_session_of_its_own(start):
    run = start(POLITE, count=2)
    run.up(2)
    core = min(os.sched_getaffinity(0))
    wait_until(lambda: all(run.files("up").values()), 10)
    assert sorted(run.files("up").values()) == [f"[{core}] 0 True", f"[{core}] 1 True"]


def test_a_second_signal_kills(start):
    run = start(DEAF, count=2)
    pids = run.up(2)
    run.process.terminate()
    wait_until(lambda: len(run.files("told")) == 2, 10)
    run.process.terminate()
    code, said = run.ended()
    assert (code, "killed by a second signal" in said) == (1, True)
    assert not any(map(lives, pids))


def test_what_does_not_end_in_time_is_killed(start):
    run = start(DEAF, patience=0.2)
    (pid,) = run.up(1)
    run.process.terminate()
    code, said = run.ended()
    assert (code, "not ended within 0.2 s; killed" in said) == (1, True)
    assert not lives(pid)


def test_a_process_that_dies_is_started_again_and_the_others_are_left_alone(start):
    run = start(POLITE, count=2)
    first, second = run.up(2)
    os.kill(first, signal.SIGKILL)
    pids = set(run.up(3))
    assert lives(second)
    run.process.terminate()
    code, said = run.ended()
    assert code == 0
    assert "died (signal SIGKILL; its log says why); another one starts in 0.01 s" in said
    assert set(run.files("told")) == pids - {first}


def test_a_process_that_keeps_dying_ends_all_after_pauses_that_double(start):
    run = start(DYING)
    code, said = run.ended()
    assert code == 1
    assert len(run.files("up")) == 5
    pauses = [line.rpartition(" in ")[2] for line in said.splitlines() if "starts in" in line]
    assert pauses == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]
    assert "died 5 times in a row (exit code 3; its log says why): all stop" in said


def test_what_a_dead_process_left_behind_is_killed_and_orphans_are_waited_for(start):
    """As process 1 of a container it gets all of them; a subreaper gets its own."""
    run = start(ORPHANING)
    run.up(2)
    beside = {int(text) for text in run.files("beside").values()}
    wait_until(lambda: sum(map(lives, beside)) == 1, 10)
    (orphan,) = [int(text) for pid, text in run.files("orphan").items() if not lives(pid)]
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), 10)
    run.process.terminate()
    assert run.ended()[0] == 0
    assert not any(map(lives, beside))


def test_workers_are_told_to_stop_where_the_arbiter_is_killed(start):
    run = start(POLITE, count=2)
    pids = run.up(2)
    run.process.kill()
    run.ended()
    wait_until(lambda: not any(map(lives, pids)), 10)
    assert sorted(run.files("told")) == sorted(pids)


def test_it_sleeps_while_nothing_happens(start):
    run = start(POLITE)
    run.up(1)
    before = _cpu(run.process.pid)
    time.sleep(0.5)  # what is asked is that nothing is done in this time
    assert _cpu(run.process.pid) - before <= 1


def _cpu(pid):
    return sum(map(int, _stat(pid)[11:13]))  # in hundredths of a second
