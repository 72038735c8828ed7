"""Label Studio itself, from an environment of its own: a server on loopback, with SQLite."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

from helpers.documents import ROOT
from helpers.metrics import free_port
from helpers.waiting import wait_until

TOOL = ROOT / ".tools" / "label-studio"
USER, PASSWORD = "ann@example.com", "correct-horse-1"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
PROJECT = """<View>
  <Image name="photo" value="$image"/>
  <Choices name="kind" toName="photo"><Choice value="bright"/><Choice value="dark"/></Choices>
  <RectangleLabels name="looked" toName="photo"><Label value="bright"/><Label value="dark"/>
  </RectangleLabels>
  <BrushLabels name="heat" toName="photo"><Label value="heat"/></BrushLabels>
</View>"""  # a label config
_MIGRATED = TOOL / "migrated.sqlite3"  # its first start takes minutes
_QUIET = {  # nothing leaves the machine
    "LATEST_VERSION_CHECK": "0",
    "COLLECT_ANALYTICS": "0",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


class Studio:
    """One running server, asked as its user."""

    def __init__(self, url, folder):
        self.url = url
        self.folder = folder
        self.token = TOKEN

    def ask(self, method, path, body=None, *, status=None):
        """Return what the API answers; `status` is the one that's expected, else any of success."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                found, code = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            found, code = error.read(), error.code
        assert code == status or (status is None and code < 300), (code, found[:2000])
        return json.loads(found) if found[:1] in (b"{", b"[") else found

    def project(self, config, tasks):
        """Make a project of tasks; return its number and the tasks' ids."""
        made = self.ask("POST", "/api/projects", {"title": "camfleet", "label_config": config})
        path = f"/api/projects/{made['id']}/import?return_task_ids=true"
        return made["id"], self.ask("POST", path, tasks)["task_ids"]

    def upload(self, project, path):
        """Upload an image into a project, as its page does: that makes a task of it."""
        boundary = "camfleet-boundary"
        place = f'form-data; name="file"; filename="{path.name}"'
        head = f"--{boundary}\r\nContent-Disposition: {place}\r\nContent-Type: image/png\r\n\r\n"
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": kind}
        place = f"{self.url}/api/projects/{project}/import"
        request = urllib.request.Request(place, body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 201

    def tasks(self, project):
        found = self.ask("GET", f"/api/tasks?project={project}&page_size=1000&fields=all")
        return sorted(found["tasks"], key=lambda task: task["id"])

    def connect(self, project, url, token, *, status=201):
        """Connect a backend as the project's page does; return what is answered."""
        body = {
            "project": project,
            "url": url,
            "title": "camfleet",
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "camfleet",
            "basic_auth_pass": token,
        }
        return self.ask("POST", "/api/ml", body, status=status)

    def retrieve(self, project, ids=None):
        """Retrieve predictions for tasks, or all, as the button of the data manager does."""
        chosen = {"all": False, "included": ids} if ids else {"all": True, "excluded": []}
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        return self.ask("POST", path, {"selectedItems": chosen, "project": str(project)})


@contextmanager
def studio(folder, **extra):
    """Start a server; stop it, and all that it started, at the end."""
    data = folder / "studio"
    (data / "files").mkdir(parents=True)
    if _MIGRATED.exists():
        shutil.copy(_MIGRATED, data / "label_studio.sqlite3")
    port, log = free_port(), folder / "studio.log"
    environ = {
        **{name: value for name, value in os.environ.items() if "CAMFLEET" not in name},
        **_QUIET,
        "DJANGO_DB": "sqlite",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(data / "files"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        # Backends on private addresses: the second one for the webhook that it makes of a backend.
        "ML_BLOCK_LOCAL_IP": "0",
        "USE_DEFAULT_BANNED_SUBNETS": "0",
        # So it checks predictions against the label config, and says what is wrong.
        "fflag_feat_utc_210_prediction_validation_15082025": "true",
        **extra,
    }
    words = [TOOL / "bin" / "label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1"]
    words += ["-p", str(port), "--username", USER, "--password", PASSWORD, "--user-token", TOKEN]
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, env=environ, cwd=data, stdout=output, stderr=output, start_new_session=True
        )
    try:
        server = Studio(f"http://127.0.0.1:{port}", data)
        wait_until(lambda: process.poll() is not None or _is_up(server.url), 400)
        assert process.poll() is None, log.read_text()[-3000:]
        if not _MIGRATED.exists():
            shutil.copy(data / "label_studio.sqlite3", _MIGRATED)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _is_up(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def backend(web, model, options=""):
    """Return the address of a model's backend on a gateway."""
    return f"http://127.0.0.1:{web.port}/integrations/label-studio/{model.id}{options}"


def prediction_of(task):
    (prediction,) = task["predictions"]
    return prediction
