"""How a machine's cores, memory and GPUs are shared out among worker processes."""

import pytest

from camfleet.errors import ConfigurationError
from camfleet.local import machine as module
from camfleet.local.arbiter import worker_command, worker_environ
from camfleet.local.machine import Machine, Share, share_out

GIB = 2**30


def a_machine(cores=8, memory=64 * GIB, gpus=(), quota=None):
    return Machine(tuple(range(cores)), quota, memory, gpus)


def shares(machine, processes=None, gpus=None):
    return [(share.cores, share.gpu) for share in share_out(machine, processes, gpus)]


def test_each_process_has_neighbouring_cores_of_its_own():
    assert shares(a_machine(8), 3) == [((0, 1), None), ((2, 3, 4), None), ((5, 6, 7), None)]
    assert shares(a_machine(2), 1) == [((0, 1), None)]


def test_more_processes_than_cores_share_them_in_turn():
    assert [cores for cores, _ in shares(a_machine(2), 5)] == [(0,), (1,), (0,), (1,), (0,)]


@pytest.mark.parametrize(
    ("machine", "count"),
    [
        (a_machine(2), 1),
        (a_machine(8), 2),
        (a_machine(64), 16),
        (a_machine(64, memory=7 * GIB // 2), 3),
        (a_machine(64, memory=GIB // 2), 1),
        (a_machine(64, quota=8), 2),
        (a_machine(64, gpus=("0", "1")), 32),
        (a_machine(16, gpus=("0",)), 8),
        (a_machine(4, gpus=("0", "1")), 2),
        (a_machine(64, memory=8 * GIB, gpus=("0", "1", "2")), 6),
    ],
)
def test_auto_is_what_cores_and_memory_feed_and_the_same_for_each_gpu(machine, count):
    made = share_out(machine, None, None)
    assert len(made) == count
    assert [share.gpu for share in made] == [
        machine.gpus[number % len(machine.gpus)] if machine.gpus else None
        for number in range(count)
    ]


def test_where_a_quota_limits_a_container_no_core_is_taken_but_fewer_threads_compute():
    made = share_out(a_machine(64, quota=8), 4, None)
    assert made == [Share((), 2, None)] * 4
    assert share_out(a_machine(64, quota=64), 64, None)[63] == Share((63,), 1, None)


def test_gpus_are_chosen_or_hidden():
    both = a_machine(8, gpus=("0", "1"))
    assert [gpu for _, gpu in shares(both, 2, "1")] == ["1", "1"]
    assert [gpu for _, gpu in shares(both, 4, "0,1")] == ["0", "1", "0", "1"]
    assert [gpu for _, gpu in shares(both, 2, "none")] == ["", ""]
    assert [gpu for _, gpu in shares(both, 2, "all")] == ["0", "1"]


@pytest.mark.parametrize(
    ("machine", "processes", "gpus", "message"),
    [
        (a_machine(gpus=("0",)), 2, "1", "there's no GPU 1, there are: 0"),
        (a_machine(), 2, "0", "there's no GPU 0, there are: none"),
        (a_machine(), 2, "all", "shows no GPU"),
        (a_machine(gpus=("0", "1")), 1, None, "1 processes can't use 2 GPUs"),
        (a_machine(gpus=("0", "1")), 2, "0,", "give all, none, or numbers"),
        (a_machine(gpus=("0", "1")), 2, "0,0", "give all, none, or numbers"),
        (a_machine(gpus=("0", "1")), 2, "", "give all, none, or numbers"),
    ],
)
def test_what_cannot_be_is_named_with_the_way_out(machine, processes, gpus, message):
    with pytest.raises(ConfigurationError, match=message):
        share_out(machine, processes, gpus)


def test_the_memory_that_is_left_is_what_the_machine_or_its_group_has(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   2048 kB\n")
    monkeypatch.setattr(module, "_MEMINFO", meminfo)
    for group, left in [(None, 2048 * 1024), (0, 0), (600_000, 600_000), (2**40, 2048 * 1024)]:
        monkeypatch.setattr(module.control_groups, "free_memory", lambda group=group: group)
        assert Machine.here({}).memory == left


def test_gpus_are_those_that_are_shown_or_that_are_there(tmp_path):
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert module._gpus({}, tmp_path) == ("0", "2", "10")
    assert module._gpus({"CUDA_VISIBLE_DEVICES": "1, GPU-8932f937"}, tmp_path) == (
        "1",
        "GPU-8932f937",
    )
    assert module._gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == ()
    assert module._gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == ()


def test_a_process_has_a_name_a_port_and_a_gpu_of_its_own():
    assert worker_command("w", ["-l", "INFO"], 3)[-4:] == ["-n", "w-3@%h", "-l", "INFO"]
    share = Share((1,), 1, "7")
    found = worker_environ({"A": "1"}, share, 9464, 2)
    assert found == {"A": "1", "CUDA_VISIBLE_DEVICES": "7", "CAMFLEET_METRICS_PORT": "9466"}
    assert worker_environ({}, Share((1,), 1, None), 0, 2) == {}
    assert worker_environ({}, Share((), 2, ""), 0, 0) == {
        "CAMFLEET_CPU_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert worker_environ({"CAMFLEET_CPU_THREADS": "5"}, Share((), 2, None), 0, 0) == {
        "CAMFLEET_CPU_THREADS": "5"
    }
