"""What a process may have by its control group, and by those above it."""

import pytest

from camfleet import control_groups


class Groups:
    """The files of control groups, and of a process in the service of one."""

    def __init__(self, folder):
        self.root = folder / "sys"
        self.own = folder / "cgroup"
        self._service = self.root / "system.slice" / "worker.service"
        self._service.mkdir(parents=True)
        self.own.write_text("1:name=systemd:/elsewhere\n0::/system.slice/worker.service\n")

    def write(self, depth, **files):
        """Write files of the group so many levels above the service's."""
        folder = [self._service, *self._service.parents][depth]
        for name, text in files.items():
            (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")

    def read(self, found):
        return found(self.own, self.root)


@pytest.fixture
def groups(tmp_path):
    return Groups(tmp_path)


def test_without_limits_or_without_linux_there_are_none(groups, tmp_path):
    for found in (control_groups.cores, control_groups.memory, control_groups.free_memory):
        assert groups.read(found) is None
        assert found(tmp_path / "no", tmp_path / "where") is None
    groups.write(0, cpu_max="max 100000", memory_max="max", memory_current=5)
    for found in (control_groups.cores, control_groups.memory, control_groups.free_memory):
        assert groups.read(found) is None


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 2), ("20000 100000", 1), ("800000 100000", 8)]
)
def test_a_quota_counts_as_cores_rounded_up(groups, text, cores):
    groups.write(0, cpu_max=text)
    assert groups.read(control_groups.cores) == cores


def test_of_all_groups_the_least_counts(groups):
    groups.write(0, cpu_max="800000 100000", memory_max=9000)
    groups.write(1, cpu_max="400000 100000", memory_max="max")
    groups.write(2, cpu_max="600000 100000", memory_max=7000)
    assert groups.read(control_groups.cores) == 4
    assert groups.read(control_groups.memory) == 7000


def test_a_containers_group_is_the_root_of_what_it_sees(groups):
    groups.own.write_text("0::/\n")
    groups.write(0, memory_max=1)
    groups.write(2, cpu_max="300000 100000", memory_max=5000, memory_current=2000)
    assert groups.read(control_groups.cores) == 3
    assert groups.read(control_groups.free_memory) == 3000


def test_a_group_that_is_not_below_the_root_leads_nowhere(groups):
    groups.own.write_text("0::/../../outside\n")
    groups.write(2, memory_max=5000)
    assert groups.read(control_groups.memory) == 5000


def test_files_that_the_kernel_would_drop_take_no_memory(groups):
    groups.write(0, memory_max=9000, memory_current=8000)
    groups.write(0, memory_stat="anon 2000\nactive_file 500\ninactive_file 5500\nslab 1")
    assert groups.read(control_groups.free_memory) == 6500
    groups.write(1, memory_max=100, memory_current=200)
    assert groups.read(control_groups.free_memory) == 0
