"""The house's rules: heavy libraries have one home, arrows run one way, importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCER = ROOT / "producer" / "camfleet"
WORKER = ROOT / "worker" / "camfleet_worker"

# Which modules may import a heavy or outside-facing library, by distribution side.
HOMES = {
    "tensorflow": {"batches", "device", "functions", "saved"},
    "openvino": {"conversion", "openvino_engine"},
    "tf_keras": {"saved"},
    "keras": {"convert", "graph", "heads", "loader", "rebuild", "split", "tfops"},
    "cv2": {"device", "images", "pixels", "regions", "render"},
    "PIL": {"imagefile", "pixels"},
    "h5py": {"modelfile", "saved"},
    "urllib3": {"guard", "webfetch"},
    "standardwebhooks": {"callbacks"},
    "prometheus_client": {"metrics"},
    "boto3": {"storage_boto", "storage_errors"},
    "botocore": {"storage_boto", "storage_errors"},
    "obstore": {"storage_errors", "storage_objects"},
    "redis": {"messaging", "ledger"},
    "celery": {"broker", "calls", "celery", "gate", "messaging", "tasks"},
    "kombu": {"broker", "gate", "messaging"},
    "pyarrow": {"export", "manifests", "parts", "pixels", "selection", "tables"},
}


def imports(path, *, at_once=False):
    """Yield the modules that a file imports, or only those `at_once`, when it's imported itself."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(ROOT.glob("producer/**/*.py")), ids=lambda path: path.stem)
def test_the_producer_knows_nothing_of_the_worker_or_its_libraries(path):
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"camfleet_worker", "tensorflow", "keras", "cv2", "numpy", "PIL"}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_homes(library):
    found = {
        path.stem
        for side in (PRODUCER, WORKER)
        for path in side.rglob("*.py")
        if library in {name.split(".")[0] for name in imports(path)}
    }
    local = (
        {"local", "local_servers"} if library in ("celery", "redis", "boto3", "botocore") else set()
    )
    assert found - local <= HOMES[library]


def test_the_maths_knows_arrays_only():
    assert set(imports(WORKER / "models" / "cam.py")) == {
        "collections.abc",
        "typing",
        "numpy",
        "numpy.typing",
    }


def test_tensorflow_has_a_room_that_is_entered_only_when_it_is_needed():
    room, own = WORKER / "models" / "tf", {WORKER / "models" / "tf", WORKER / "legacy"}
    for path in WORKER.rglob("*.py"):
        heavy = {name.split(".")[0] for name in imports(path)} & {"tensorflow", "keras"}
        assert not heavy or path.parent in own or path.stem == "device", path
        if path.parent != room:
            names = imports(path, at_once=True)
            assert not any(each.startswith("camfleet_worker.models.tf") for each in names), path


def test_importing_the_producer_loads_nothing_heavy():
    code = (
        "import sys, camfleet; from camfleet import Client; "
        "heavy = {'tensorflow', 'keras', 'cv2', 'numpy', 'pyarrow', 'boto3', 'obstore'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", sorted([*PRODUCER.rglob("*.py"), *WORKER.rglob("*.py")]), ids=lambda path: path.stem
)
def test_no_file_grows_past_three_hundred_lines(path):
    assert len(path.read_text().splitlines()) <= 300
