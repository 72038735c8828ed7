"""Keys in Redis are spelt in one module, whose table has them all."""

import ast
import inspect
import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from camfleet.broker import keys

ROOT = Path(__file__).parents[2]
HOME = ROOT / "producer" / "camfleet" / "broker"
HOMES = (HOME / "keys.py", HOME / "gateway_keys.py")
MODULES = [path for side in ("producer", "worker") for path in sorted((ROOT / side).rglob("*.py"))]
SCRIPTS = sorted((HOME / "lua").glob("*.lua"))
OLD = json.loads((ROOT / "tests" / "fixtures" / "v0.1.0" / "redis.json").read_text())
SPELT = re.compile(r"camfleet:(?! )")  # messages to people have a space there


def texts(source):
    """Yield all strings of a module, those between the braces of f-strings too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_spells_a_key(path):
    spelt = [text for text in texts(path.read_text()) if SPELT.search(text)]
    assert bool(spelt) is (path in HOMES)


@pytest.mark.parametrize("source", ['key = "camfleet:jobs"', 'key = f"camfleet:{part}:{job_id}"'])
def test_a_key_that_is_spelt_is_found(source):
    assert any(map(SPELT.search, texts(source)))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_gets_its_keys_and_says_at_its_head_which(path):
    text = path.read_text()
    assert not SPELT.search(text)
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("--"))
    assert text.startswith(head)
    assert re.search(r"^-- KEYS: .*^-- ARGV: .*^-- Returns ", head, re.MULTILINE | re.DOTALL)


def test_every_key_that_can_be_made_has_one_row():
    made = [
        value(*["some-name"] * len(inspect.signature(value).parameters))
        for value in vars(keys).values()
        if inspect.isfunction(value) and value.__module__ == keys.__name__
    ]
    names = [*(key for key in made if isinstance(key, str)), *keys.of_job("some-job")]
    names += [
        keys.JOBS,
        keys.CALLBACKS,
        keys.FOLLOW_UPS,
        keys.SCHEDULES,
        keys.REVIEWS,
        keys.SCHEDULES_IN_WORK,
        keys.SCHEDULER,
        keys.LEASES,
        keys.REAPER,
        keys.SWEEPER,
        keys.PING,
        *keys.QUEUES,
    ]
    for name in names:
        assert len([row for row in keys.TABLE if fnmatch(name, row.pattern)]) == 1, name


@pytest.mark.parametrize(("name", "value"), OLD.items(), ids=OLD)
def test_what_version_0_1_0_left_in_redis_has_its_row(name, value):
    assert [row.type for row in keys.TABLE if fnmatch(name, row.pattern)] == [value["type"]]


def test_every_owner_is_a_module_of_the_room_or_a_library():
    owners = {row.owner for row in keys.TABLE} - {"celery", "kombu"}
    assert owners <= {path.stem for path in HOME.glob("*.py")}
