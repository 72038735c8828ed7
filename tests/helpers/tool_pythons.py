"""Tools in environments of their own, below `.tools`, and what their Pythons print."""

import json
import os
import subprocess

from helpers.documents import ROOT

SCRIPTS = ROOT / "tests" / "tools"


def python_of(tool):
    """Return the Python that a tool is installed for."""
    python = ROOT / ".tools" / tool / "bin" / "python"
    assert python.exists(), "make tools makes the environments"
    return python


def run_python(tool, *words, home=None):
    """Return what a tool's Python prints; with `home` it has no other folder of settings."""
    environ = None
    if home:  # FiftyOne's database lies there, too
        plain = {
            name: text for name, text in os.environ.items() if not name.startswith("FIFTYONE_")
        }
        database = {"FIFTYONE_DATABASE_DIR": str(home / "database")}
        environ = {**plain, "HOME": str(home), **database, "FIFTYONE_DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [python_of(tool), "-P", *words],
        cwd=home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_script(tool, script, *words, home=None):
    """Return the JSON that a script of `tests/tools` prints at the end, run by a tool's Python."""
    return json.loads(run_python(tool, SCRIPTS / script, *words, home=home).splitlines()[-1])
