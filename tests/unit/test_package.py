"""What `camfleet` exports: for users, for `dir`, and for type checkers of another project."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import camfleet
from camfleet import errors

SOURCE = Path(camfleet.__file__)


def imported_for_type_checkers():
    """Return name and module of each import below TYPE_CHECKING."""
    (block,) = (node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    return {
        alias.name: node.module.removeprefix("camfleet.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def leaves(root):
    children = root.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [root]


@pytest.mark.parametrize("name", camfleet.__all__)
def test_each_name_can_be_imported(name):
    assert getattr(camfleet, name) is not None


def test_type_checkers_see_what_is_imported_on_demand():
    assert imported_for_type_checkers() == camfleet._HOME_OF
    assert sorted(camfleet.__all__) == sorted([*camfleet._HOME_OF, "__version__"])
    assert len(set(camfleet.__all__)) == len(camfleet.__all__)


def test_a_name_is_that_of_its_home():
    for name, home in camfleet._HOME_OF.items():
        assert getattr(camfleet, name) is getattr(import_module(f"camfleet.{home}"), name)


def test_dir_lists_everything():
    assert set(camfleet.__all__) <= set(dir(camfleet))


def test_every_error_that_users_catch_is_exported():
    raised = leaves(errors.CallerError) + leaves(errors.ServiceError)
    names = {kind.__name__ for kind in raised if kind.__module__ == "camfleet.errors"}
    assert names <= set(camfleet.__all__)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        camfleet.Clint  # noqa: B018  # looking it up is the test


def test_a_type_checker_in_another_folder_sees_the_types(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(
        "from camfleet import Client, ImageNotFound, Item, Outputs\n"
        "reveal_type(Client)\n"
        "def ask(client: Client) -> None:\n"
        "    reveal_type(client.explain(b'', model='m', threshold=0.5).result()[0].class_name)\n"
        "    client.submit(['a', Item], models='m', treshold=0.5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "def (settings: camfleet.settings.Settings)' in done.stdout
    assert 'Revealed type is "str | None"' in done.stdout
    assert "treshold" in done.stdout
    assert "import-untyped" not in done.stdout
