"""The units, as systemd itself reads them."""

import dataclasses
import re
import shlex
import shutil

import pytest
from click.testing import CliRunner

from camfleet.cli import group
from camfleet.settings import Settings, variable
from helpers.charts import ROOT, Refused, run

pytestmark = pytest.mark.charts

UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
INSTANCES = {
    "camfleet-worker@.service": "camfleet-worker@0.service",
    "camfleet-gateway@.service": "camfleet-gateway@8100.service",
}
MOST_EXPOSED = "45"  # of 100; what runs as root without limits has 96

every_unit = pytest.mark.parametrize("unit", UNITS, ids=[each.name for each in UNITS])


def installed(unit, folder, was="", now=""):
    """Return a unit as one of its instances, with the programs of this environment."""
    text = unit.read_text().replace("/opt/camfleet/bin", str(ROOT / ".venv" / "bin"))
    assert was in text
    (folder / unit.name).write_text(text.replace(was, now))
    return folder / INSTANCES.get(unit.name, unit.name)


def verified(path):
    run(["systemd-analyze", "--man=no", "--recursive-errors=one", "verify", path])


@every_unit
def test_systemd_has_nothing_against_a_unit(unit, tmp_path):
    verified(installed(unit, tmp_path))


@pytest.mark.parametrize(
    ("was", "now"),
    [("Restart=always", "Restarts=always"), ("bin/celery", "bin/no-such-program")],
    ids=["a misspelt key", "a program that isn't there"],
)
def test_systemd_here_would_notice(was, now, tmp_path):
    with pytest.raises(Refused, match=now.partition("=")[0].rpartition("/")[2]):
        verified(installed(UNITS[1], tmp_path, was, now))


@every_unit
def test_a_unit_may_do_little(unit, tmp_path):
    path = installed(unit, tmp_path)
    run(["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", path])


def test_a_unit_without_its_limits_is_too_exposed(tmp_path):
    path = installed(UNITS[0], tmp_path, "CapabilityBoundingSet=\n", "PrivateNetwork=no\n")
    with pytest.raises(Refused):
        run(["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", path])


@every_unit
def test_gpus_and_compiled_models_are_not_taken_away(unit):
    keys = {line.partition("=")[0] for line in unit.read_text().splitlines()}
    assert not keys & {"ProtectClock", "PrivateDevices", "DeviceAllow", "MemoryDenyWriteExecute"}


@every_unit
def test_a_unit_names_settings_that_there_are_and_no_secret(unit):
    known = {variable(field) for field in dataclasses.fields(Settings)}
    assert set(re.findall(r"CAMFLEET_[A-Z0-9_]+", unit.read_text())) <= known
    assert "://" not in unit.read_text()


def test_what_a_unit_starts_has_these_options():
    for unit in UNITS:
        (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        program, *words = shlex.split(line.replace("%i", "8100"))
        assert shutil.which(ROOT / ".venv" / "bin" / program.rpartition("/")[2])
        if program.endswith("camfleet"):
            own = words[: words.index("--")] if "--" in words else words
            shown = CliRunner().invoke(group, [words[0], "--help"]).output
            assert all(option in shown for option in own if option.startswith("--"))


def test_a_worker_is_given_longer_to_stop_than_it_takes():
    worker = next(each for each in UNITS if each.name == "camfleet-worker@.service").read_text()
    assert int(re.search(r"TimeoutStopSec=(\d+)", worker)[1]) > Settings.stop_seconds + 60
