"""The house's rules: rooms import only what stands below them, and heavy libraries have one home.

Everything is said by path: a file's room is its folder below the package, or its own name where it
stands in none.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from helpers.import_circles import circles

ROOT = Path(__file__).parents[2]
SIDES = {"camfleet": ROOT / "producer", "camfleet_worker": ROOT / "worker"}
PRODUCER = SIDES["camfleet"] / "camfleet"
WORKER = SIDES["camfleet_worker"] / "camfleet_worker"

# From the top of the house to its ground: a room imports itself and rooms that stand below it.
ABOVE_THE_LINE = (
    "cli",
    "gateway",
    "cvat",
    "aio",
    "client",
    "interactive",
    "jobs",
    "pictures",
    "sources",
)
BELOW_THE_LINE = (
    "label_studio",
    "exports",
    "reviews",
    "audit",
    "results",
    "registry",
    "rebuild",
    "broker",
    "jobstore",
    "storage",
    "contract",
    "prefetch",
)
GROUND = (
    "metrics_port",
    "lru",
    "disk_table",
    "faultpoints",
    "settings",
    "setting_groups",
    "variables",
    "addresses",
    "control_groups",
    "forks",
    "whole",
    "temporary",
    "errors",
    "foreign",
)
PRODUCER_ROOMS = (*ABOVE_THE_LINE, *BELOW_THE_LINE, *GROUND)
WORKER_ROOMS = (
    "celery",
    "tasks",
    "services",
    "heartbeat",
    "webhooks",
    "follow_ups",
    "reviews",
    "schedules",
    "requests",
    "chunks",
    "studies",
    "pipeline",
    "prometheus",
    "scraped",
    "legacy",
    "models",
    "sources",
    "pictures",
    "web",
    "process",
    "arrays",
)
# The local stack is known by the command line alone, and knows:
LOCAL_STACK_KNOWS = {"local", "settings", "addresses", "control_groups", "errors"}

# Which files may import a heavy or outside-facing library.
HOMES = {
    "tensorflow": {
        "camfleet_worker/legacy/saved.py",
        "camfleet_worker/models/tf/derivatives.py",
        "camfleet_worker/models/tf/functions.py",
        "camfleet_worker/process/runtime.py",
    },
    "openvino": {
        "camfleet_worker/models/openvino_library.py",
        "camfleet_worker/models/tf/conversion.py",
    },
    "jax": {
        "camfleet_worker/models/converted/stablehlo.py",
        "camfleet_worker/models/jax_engine.py",
        "camfleet_worker/models/tf/derivatives.py",
        "camfleet_worker/models/tf/export.py",
        "camfleet_worker/process/runtime.py",
    },
    "jaxlib": {"camfleet_worker/models/converted/stablehlo.py"},
    "tf_keras": {"camfleet_worker/legacy/saved.py"},
    "keras": {
        "camfleet_worker/legacy/convert.py",
        "camfleet_worker/legacy/rebuild.py",
        "camfleet_worker/legacy/tfops.py",
        "camfleet_worker/models/tf/blame.py",
        "camfleet_worker/models/tf/built.py",
        "camfleet_worker/models/tf/cut.py",
        "camfleet_worker/models/tf/derivatives.py",
        "camfleet_worker/models/tf/endings.py",
        "camfleet_worker/models/tf/export.py",
        "camfleet_worker/models/tf/flat_graph.py",
        "camfleet_worker/models/tf/heads.py",
        "camfleet_worker/models/tf/loader.py",
        "camfleet_worker/models/tf/places.py",
        "camfleet_worker/models/tf/ranges.py",
        "camfleet_worker/models/tf/rebuilt.py",
        "camfleet_worker/models/tf/removal.py",
        "camfleet_worker/models/tf/slope.py",
        "camfleet_worker/models/tf/verify.py",
        "camfleet_worker/models/tf/weights.py",
    },
    "cv2": {
        "camfleet_worker/pictures/copies.py",
        "camfleet_worker/pictures/decode.py",
        "camfleet_worker/pictures/decoder.py",
        "camfleet_worker/pictures/draw.py",
        "camfleet_worker/pictures/fills.py",
        "camfleet_worker/pictures/heat.py",
        "camfleet_worker/pictures/prepare.py",
        "camfleet_worker/pictures/regions.py",
        "camfleet_worker/pictures/trial_pictures.py",
        "camfleet_worker/pictures/webp.py",
        "camfleet_worker/process/runtime.py",
        "camfleet_worker/studies/floor.py",
    },
    "PIL": {
        "camfleet/cvat.py",
        "camfleet_worker/pictures/decode.py",
        "camfleet_worker/pictures/header.py",
        "camfleet_worker/pictures/png.py",
        "camfleet_worker/pictures/tiff.py",
    },
    "cvat_sdk": {"camfleet/cvat.py"},
    "simplejpeg": {"camfleet_worker/pictures/decode.py"},
    "pycocotools": {"camfleet_worker/pictures/regions.py"},
    "h5py": {"camfleet_worker/models/files/hdf5.py"},
    "urllib3": {
        "camfleet/label_studio/connection.py",
        "camfleet_worker/web/client.py",
        "camfleet_worker/web/guard.py",
    },
    "standardwebhooks": {"camfleet_worker/webhooks.py"},
    "prometheus_client": {
        "camfleet/gateway/prometheus.py",
        "camfleet/metrics_port.py",
        "camfleet_worker/prometheus.py",
        "camfleet_worker/scraped.py",
    },
    "boto3": {"camfleet/storage/boto.py", "camfleet/storage/errors.py"},
    "botocore": {
        "camfleet/local/servers.py",
        "camfleet/storage/boto.py",
        "camfleet/storage/bounded.py",
        "camfleet/storage/errors.py",
        "camfleet/storage/programs.py",
    },
    "jinja2": {"camfleet/audit/pictures.py"},
    "starlette": {
        "camfleet/gateway/endpoints/about.py",
        "camfleet/gateway/app.py",
        "camfleet/gateway/calls.py",
        "camfleet/gateway/endpoints/results/comparisons.py",
        "camfleet/gateway/endpoints/dry_runs.py",
        "camfleet/gateway/endpoints/explain.py",
        "camfleet/gateway/endpoints/results/exports.py",
        "camfleet/gateway/endpoints/fleet.py",
        "camfleet/gateway/endpoints/results/gallery.py",
        "camfleet/gateway/guard.py",
        "camfleet/gateway/endpoints/jobs.py",
        "camfleet/gateway/endpoints/results/later.py",
        "camfleet/gateway/endpoints/label_studio/backend.py",
        "camfleet/gateway/endpoints/results/originals.py",
        "camfleet/gateway/page.py",
        "camfleet/gateway/endpoints/results/pictures.py",
        "camfleet/gateway/problems.py",
        "camfleet/gateway/endpoints/results/reports.py",
        "camfleet/gateway/endpoints/results/results.py",
        "camfleet/gateway/endpoints/reviews.py",
        "camfleet/gateway/endpoints/results/rows.py",
        "camfleet/gateway/endpoints/served.py",
        "camfleet/gateway/server.py",
        "camfleet/gateway/sessions.py",
        "camfleet/gateway/endpoints/uploads.py",
        "camfleet/gateway/endpoints/watching.py",
    },
    "sqlite3": {"camfleet/disk_table.py"},
    "uvicorn": {"camfleet/gateway/server.py"},
    "cronsim": {"camfleet/contract/schedules.py"},
    "cryptography": {"camfleet/local/seaweedfs_tls.py"},
    "obstore": {
        "camfleet/storage/clouds.py",
        "camfleet/storage/errors.py",
        "camfleet/storage/obstore.py",
    },
    "redis": {
        "camfleet/broker/errors.py",
        "camfleet/broker/pools.py",
        "camfleet/broker/prefixed.py",
        "camfleet/broker/redis.py",
        "camfleet/broker/sentinels.py",
        "camfleet/local/servers.py",
        "camfleet_worker/process/forgeries.py",
    },
    "celery": {
        "camfleet/broker/app.py",
        "camfleet/broker/sender.py",
        "camfleet/local/servers.py",
        "camfleet_worker/celery.py",
        "camfleet_worker/process/admission.py",
        "camfleet_worker/process/forgeries.py",
        "camfleet_worker/process/kombu_patches.py",
        "camfleet_worker/process/pool.py",
        "camfleet_worker/tasks.py",
    },
    "kombu": {
        "camfleet/broker/app.py",
        "camfleet/broker/errors.py",
        "camfleet_worker/process/admission.py",
        "camfleet_worker/process/forgeries.py",
        "camfleet_worker/process/kombu_patches.py",
    },
    "pyarrow": {
        "camfleet/audit/comparisons/comparer.py",
        "camfleet/audit/comparisons/comparison.py",
        "camfleet/audit/comparisons/pairing.py",
        "camfleet/audit/comparisons/sides.py",
        "camfleet/audit/reports/collect.py",
        "camfleet/audit/reports/tables.py",
        "camfleet/audit/studies/faithfulness.py",
        "camfleet/audit/studies/floor.py",
        "camfleet/audit/studies/sample.py",
        "camfleet/audit/hashes.py",
        "camfleet/audit/heat.py",
        "camfleet/jobstore/parquet.py",
        "camfleet/jobstore/parquet_bounds.py",
        "camfleet/jobstore/parquet_growth.py",
        "camfleet/results/export.py",
        "camfleet/results/gallery/build.py",
        "camfleet/results/gallery/query.py",
        "camfleet/results/gallery/read.py",
        "camfleet/results/kept.py",
        "camfleet/results/narrow.py",
        "camfleet/results/query.py",
        "camfleet/results/read.py",
        "camfleet/sources/manifests.py",
        "camfleet/sources/parquet_rows.py",
        "camfleet_worker/pictures/decode.py",
    },
}


@cache
def sources(root=ROOT):
    """Return every file of both packages below `root`, as path within its side, and its text."""
    sides = (root / "producer", root / "worker")
    return {
        str(path.relative_to(side)): path.read_text()
        for side in sides
        for path in sorted(side.rglob("*.py"))
    }


@cache
def imports(text, *, at_once=False):
    """Return what a file imports, dotted; `at_once`: only what importing it loads."""
    tree, found = ast.parse(text), []
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def room_of(dotted):
    """Return package and room of a dotted name; a name of the package's own door has no room."""
    package, _, rest = dotted.partition(".")
    room = rest.partition(".")[0]
    known = (*PRODUCER_ROOMS, "local") if package == "camfleet" else WORKER_ROOMS
    return package, room if room in known else ""


def home_of(path):
    return room_of(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def misplaced(path, text):
    """Return what a file imports from rooms that don't stand below its own."""
    package, room = home_of(path)
    if not room:
        return []  # the package's own door names what's behind it
    wrong = []
    for name in imports(text):
        other, target = room_of(name)
        if other not in SIDES or not target:
            continue
        if not _may_import(package, room, other, target):
            wrong.append(name)
    return wrong


def _may_import(package, room, other, target):
    if "local" in (room, target):
        return target in LOCAL_STACK_KNOWS if room == "local" else room == "cli"
    if package == "camfleet":
        return other == "camfleet" and _is_below(PRODUCER_ROOMS, room, target)
    if other == "camfleet":
        return target in (*BELOW_THE_LINE, *GROUND)
    return _is_below(WORKER_ROOMS, room, target)


def _is_below(rooms, room, target):
    return rooms.index(target) >= rooms.index(room)


@pytest.mark.parametrize(("path", "text"), sources().items(), ids=sources())
def test_a_room_imports_only_rooms_that_stand_below_it(path, text):
    assert misplaced(path, text) == []


@pytest.mark.parametrize("path", sources(), ids=str)
def test_every_file_has_a_room(path):
    package, room = home_of(path)
    assert room or path == f"{package}/__init__.py"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("camfleet/contract/results.py", "from camfleet.jobstore import keys"),
        ("camfleet/contract/results.py", "import camfleet.settings, camfleet.broker.redis"),
        ("camfleet/storage/boto.py", "from camfleet.jobstore.parquet import RESULTS"),
        ("camfleet/jobstore/records.py", "from camfleet.broker.ledger import Ledger"),
        ("camfleet/registry/cards.py", "from camfleet.jobs.job import Job"),
        ("camfleet/jobs/submit.py", "def f():\n    from camfleet.client import Client"),
        ("camfleet/local/stack.py", "from camfleet.broker.redis import redis_client"),
        ("camfleet/jobs/submit.py", "from camfleet.local.stack import LocalStack"),
        ("camfleet/settings.py", "from camfleet.contract.codec import Wire"),
        ("camfleet/client.py", "from camfleet.gateway.app import App"),
        ("camfleet/aio/client.py", "from camfleet.gateway.access.tokens import Tokens"),
        ("camfleet/client.py", "from camfleet_worker.process import runtime"),
        ("camfleet_worker/tasks.py", "from camfleet.client import Client"),
        ("camfleet_worker/webhooks.py", "from camfleet.jobs.job import Job"),
        ("camfleet_worker/pictures/heat.py", "from camfleet_worker.models import cam"),
        ("camfleet_worker/models/build.py", "from camfleet_worker.pipeline.steps import Steps"),
        ("camfleet_worker/process/logs.py", "from camfleet_worker import services"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(path, line):
    assert misplaced(path, line) != []


def test_nothing_imports_itself_by_way_of_what_stands_beside_it():
    assert circles(sources()) == {}


@pytest.mark.parametrize(
    "files",
    [
        {"a.py": "from camfleet import b", "b.py": "def f():\n    import camfleet.a"},
        {
            "a.py": "from camfleet.b import B",
            "b.py": "if TYPE_CHECKING:\n    from camfleet.a import A",
        },
        {
            "a.py": "from camfleet.b.x import X",
            "b/__init__.py": "",
            "b/x.py": "",
            "b/y.py": "import camfleet.a",
        },
        {"a.py": "from camfleet import X"},
    ],
    ids=["later", "types", "folder", "door"],
)
def test_a_circle_of_imports_is_found(files):
    files = {f"camfleet/{name}": text for name, text in files.items()}
    assert set(circles({"camfleet/__init__.py": "from camfleet.a import X"} | files)) == {
        "camfleet"
    }


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_homes(library):
    found = {
        path
        for path, text in sources().items()
        if library in {name.split(".")[0] for name in imports(text)}
    }
    assert found == HOMES[library]


def test_the_producer_never_imports_the_workers_libraries():
    heavy = {"tensorflow", "keras", "openvino", "jax", "cv2", "numpy", "PIL", "h5py"}
    for path, text in sources().items():
        if path.startswith("camfleet/"):
            drawn = ("camfleet/exports/heat.py", "camfleet/exports/raw_map.py")
            at_home = path.startswith("camfleet/audit/") or path in drawn
            allowed = {"numpy"} if at_home else set()
            allowed |= {"PIL"} if path == "camfleet/cvat.py" else set()
            assert not (heavy - allowed) & {name.split(".")[0] for name in imports(text)}, path


def test_the_maths_knows_arrays_only():
    found = set(imports((WORKER / "models" / "cam.py").read_text()))
    modules = {name for name in found if name.rpartition(".")[0] not in found}
    assert modules == {"collections.abc", "numpy", "camfleet_worker.arrays"}


def test_tensorflow_has_a_room_that_is_entered_only_when_it_is_needed():
    for path, text in sources().items():
        inside = path.startswith("camfleet_worker/models/tf/")
        loaded = set(imports(text, at_once=True))
        assert inside or not any(name.startswith("camfleet_worker.models.tf") for name in loaded)
        heavy = {name.split(".")[0] for name in loaded} & {"tensorflow", "keras", "jax"}
        assert inside or not heavy or path.startswith("camfleet_worker/legacy/"), path


def test_what_reads_uploaded_models_is_imported_only_where_a_confined_process_does():
    readers = ("model_file", "files.archive", "files.hdf5", "tf.loader", "tf.from_file")
    inside = {f"camfleet_worker/models/{name.replace('.', '/')}.py" for name in readers}
    found = {
        path
        for path, text in sources().items()
        if {f"camfleet_worker.models.{name}" for name in readers} & set(imports(text))
    }
    assert found - inside == {
        "camfleet_worker/legacy/convert.py",  # in `port` and below it
        "camfleet_worker/legacy/saved.py",  # which only `port` imports
        "camfleet_worker/models/build.py",  # in `_cut_confined`
        "camfleet_worker/models/converted/subprocess.py",  # in `answer`
        "camfleet_worker/models/model_report.py",  # below `check`
    }


def test_importing_the_producer_loads_nothing_heavy():
    code = (
        "import sys, camfleet; from camfleet import Client; "
        "heavy = {'tensorflow', 'keras', 'cv2', 'numpy', 'pyarrow', 'boto3', 'obstore'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_child_imports_what_lies_in_the_current_folder():
    """Without -P that folder comes first, and another user may have put a module there."""
    started = [
        call for text in sources().values() for call in re.findall(r"sys\.executable, .*", text)
    ]
    assert len(started) >= 5
    assert [call for call in started if not call.startswith('sys.executable, "-P", ')] == []


@pytest.mark.parametrize(("path", "text"), sources().items(), ids=sources())
def test_no_file_grows_past_three_hundred_lines(path, text):
    assert len(text.splitlines()) <= 300
