"""A stand-in for Label Studio, which answers as 1.23.2 was recorded to: see the fixture's folder.

`make tools` compares the recording with Label Studio itself. It keeps tasks and predictions, and
like Label Studio it stores whatever is sent twice twice.
"""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from operator import itemgetter
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit

from helpers.documents import ROOT

RECORDED = ROOT / "tests" / "fixtures" / "label-studio-1.23.2"
API = json.loads((RECORDED / "api.json").read_text())
TOKEN = "a" * 40
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.cGVyc29uYWw.c2lnbg"
CONFIG = API["project"]["body"]["label_config"]
_ID = itemgetter("id")


class StandIn:
    """One server with one project, of number 1; `files` are what it keeps, by path."""

    def __init__(self, url, prefix):
        self.url = url + prefix
        self.prefix = prefix
        self.lock = Lock()
        self.tasks = {}  # data by id
        self._predictions = {}  # with their ids, by task
        self._last_prediction = 0
        self.files = {}
        self.asked = []  # verb and path of each request
        self.cut_off = 0  # imports whose answer gets lost
        self.away = 0  # requests that are answered with 503
        self.troubles = []  # what becomes of the next imports: a status, "cut off", "half", "late"
        self.annotated = set()  # tasks
        self.late = []  # imports that are stored after the next one
        self.redirect = None  # where the next file leads
        self.config = CONFIG

    def add(self, *images):
        """Make tasks; return their ids."""
        ids = [len(self.tasks) + number for number in range(1, len(images) + 1)]
        self.tasks |= dict(zip(ids, ({"image": image} for image in images), strict=True))
        return ids

    @property
    def predictions(self):
        return sorted((one for of in self._predictions.values() for one in of), key=_ID)

    @predictions.setter
    def predictions(self, found):
        self._predictions = {}
        for one in found:
            self._predictions.setdefault(one["task"], []).append(one)

    def versions(self, task):
        return [one["model_version"] for one in self._predictions.get(task, ())]

    def predict(self, task, prediction):
        self._last_prediction += 1
        made = {**prediction, "task": task, "id": self._last_prediction}
        self._predictions.setdefault(task, []).append(made)

    def answer(self, verb, path, query, body):
        """Return status and body of an answer."""
        start, *rest = path.strip("/").split("/")[1:]
        if verb == "GET" and start == "projects":
            found = {**API["project"]["body"], "label_config": self.config}
            total = sum(map(len, self._predictions.values()))
            numbers = {"task_number": len(self.tasks), "total_predictions_number": total}
            return self._known(rest) or (200, {**found, **numbers})
        if start == "tasks":
            return (200, self._listed(query)) if verb == "GET" else self._delete_task(int(rest[0]))
        if start == "predictions":
            return self._of_task(query) if verb == "GET" else self._delete(int(rest[0]))
        return self._known(rest) or self._import(body, predictions=rest[-1] == "predictions")

    def _known(self, rest):
        return None if rest[0] == "1" else (404, API["unknown_project"]["body"])

    def _of_task(self, query):
        return 200, self._predictions.get(int(query["task"][0]), [])

    def _delete(self, number):
        self.predictions = [one for one in self.predictions if one["id"] != number]
        return 204, None

    def _delete_task(self, number):
        self._predictions.pop(number, None)
        return (204, None) if self.tasks.pop(number, None) else (404, None)

    def store(self, body):
        """Make tasks; return their ids."""
        first = max(self.tasks, default=0) + 1
        for task, one in enumerate(body, first):
            self.tasks[task] = one["data"]
            for prediction in one["predictions"]:
                self.predict(task, prediction)
        return list(range(first, first + len(body)))

    def _import(self, body, *, predictions):
        if not predictions:
            ids = self.store(body)
            return 201, {**API["import_tasks"]["body"], "task_count": len(body), "task_ids": ids}
        if any(one["task"] not in self.tasks for one in body):
            return 400, API["import_predictions_unknown_task"]["body"]
        for one in body:
            self.predict(one["task"], one)
        return 201, {"created": len(body)}

    def _listed(self, query):
        filters = json.loads(query["query"][0])["filters"]["items"]
        found = list(self.tasks)  # their numbers only grow
        for one in sorted(filters, key=lambda one: one["filter"]):  # numbers first
            if one["filter"].endswith("model_versions"):
                found = [n for n in found if any(one["value"][0] in v for v in self.versions(n))]
            elif one["operator"] == "greater":
                found = [n for n in found if n > one["value"]]
            else:
                found = [n for n in found if one["value"]["min"] <= n <= one["value"]["max"]]
        size, page = int(query["page_size"][0]), int(query["page"][0])
        form = API["tasks"]["body"]["tasks"][0]
        filtered = any(one["filter"].endswith("model_versions") for one in filters)
        tasks = [
            {
                **form,
                "id": number,
                "data": self.tasks[number],
                "total_annotations": int(number in self.annotated),
                "total_predictions": len(self.versions(number)),
                "predictions_model_versions": self._versions_text(number) if filtered else "",
            }
            for number in found[(page - 1) * size : page * size]
        ]
        return {**API["tasks"]["body"], "tasks": tasks, "total": len(found)}

    def _versions_text(self, number):
        return ", ".join(set(self.versions(number)))[:500]


class _Handler(BaseHTTPRequestHandler):
    studio: StandIn

    def do_GET(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(self.studio.prefix)
        with self.studio.lock:
            self.studio.asked.append((self.command, path))
            self._answer(path, parts, body)

    def do_POST(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def _answer(self, path, parts, body):
        studio = self.studio
        if path == "/api/token/refresh/":
            self._send(**API["refresh" if body == {"refresh": PERSONAL} else "refresh_wrong"])
        elif self.headers["Authorization"] not in (f"Token {TOKEN}", "Bearer eyJ.access.sign"):
            self._send(**API["wrong_token"])
        elif studio.away:
            studio.away -= 1
            self._send(503, None)
        elif path.startswith("/data/"):
            self._send_file(path, parts)
        else:
            self._answer_api(path, parts, body)

    def _answer_api(self, path, parts, body):
        studio, trouble = self.studio, None
        if "import" in path:
            if studio.cut_off:
                studio.cut_off -= 1
                trouble = "cut off"
            elif studio.troubles:
                trouble = studio.troubles.pop(0)
        if isinstance(trouble, int):
            self._send(trouble, None, {"Retry-After": "1"} if trouble == 429 else {})
            return
        if trouble == "late":  # it goes on with what nobody waits for any more
            studio.late.append(body)
            self.connection.close()
            return
        status, found = studio.answer(self.command, path, parse_qs(parts.query), body)
        if trouble == "cut off":
            self.connection.close()
        elif trouble == "half":
            self._raw(status, json.dumps(found).encode(), "application/json", half=True)
        else:
            self._send(status, found)
        if "import" in path:
            while studio.late:
                studio.store(studio.late.pop())

    def _send_file(self, path, parts):
        key = f"{path}?{parts.query}" if parts.query else path
        data = self.studio.files.get(key)
        status = 302 if self.studio.redirect else 404 if data is None else 200
        self._raw(status, data or b"", "image/png", self.studio.redirect)

    def _send(self, status, body, headers=()):
        data = b"" if body is None else json.dumps(body).encode()
        self._raw(status, data, "application/json", headers=headers)

    def _raw(self, status, data, kind, location=None, *, headers=(), half=False):
        self.send_response(status)
        for name in headers:
            self.send_header(name, headers[name])
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)

    def log_message(self, *words):
        pass


@contextmanager
def standin(prefix=""):
    """Serve a stand-in on loopback, below a prefix."""
    handler = type("Handler", (_Handler,), {})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.studio = StandIn(f"http://127.0.0.1:{http.server_address[1]}", prefix)
    thread = Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler.studio
    finally:
        http.shutdown()
        http.server_close()
        thread.join(10)
