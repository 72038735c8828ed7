"""As much of CVAT's server as `cvat-cli task auto-annotate` speaks to, with one task.

Written by the requests of cvat-sdk 2.80.0, whose types check what is answered here, as no CVAT
runs here: it keeps what is uploaded and judges nothing.
"""

import io
import json
import zipfile
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from helpers.loopback import LoopbackServer, served

TOKEN = "token-of-the-tests"
TASK = 137
CREATED = ("PATCH", f"/api/tasks/{TASK}/annotations?action=create")
CLEARED = ("PUT", f"/api/tasks/{TASK}/annotations")
_TIME = "2026-11-01T00:00:00Z"


def label(number, name, kind="any", attributes=()):
    """Return a label of the task as the server has it, its texts numbered from 100."""
    texts = [
        {
            "id": 100 * number + place,
            "name": text,
            "mutable": False,
            "input_type": "text",
            "default_value": "",
            "values": [],
        }
        for place, text in enumerate(attributes)
    ]
    return {
        "id": number,
        "name": name,
        "color": "#ff0000",
        "attributes": texts,
        "type": kind,
        "sublabels": [],
        "has_parent": False,
        "task_id": TASK,
    }


class Server(LoopbackServer):
    """`uploaded` are methods and paths with what was sent; `unknown` paths nobody expected."""

    def __init__(self, frames, labels):
        super().__init__(_Handler)
        self.frames = frames  # names and paths
        self.labels = labels
        self.uploaded = []
        self.unknown = []

    def answer(self, path, query):
        if path == "/api/server/about":
            return {
                "name": "CVAT",
                "description": "",
                "subtitle": "",
                "version": "2.80.0",
                "logo_url": "",
            }
        if path == "/api/labels":
            return _page(self.labels)
        if path == f"/api/tasks/{TASK}":
            return self._task()
        if path == f"/api/tasks/{TASK}/data/meta":
            return self._meta()
        if path == f"/api/tasks/{TASK}/data" and query.get("type") == ["chunk"]:
            return self._chunk()
        return None

    def _task(self):
        return {
            "id": TASK,
            "name": "photographs",
            "mode": "annotation",
            "created_date": _TIME,
            "updated_date": _TIME,
            "status": "annotation",
            "size": len(self.frames),
            "data_chunk_size": len(self.frames),
            "data_original_chunk_type": "imageset",
            "data_compressed_chunk_type": "imageset",
            "dimension": "2d",
            "jobs": {"count": 1, "completed": 0, "validation": 0, "url": self.url},
            "labels": {"url": f"{self.url}/api/labels?task_id={TASK}"},
            "segment_size": len(self.frames),
            "overlap": 0,
            "subset": "",
            "organization": None,
        }

    def _meta(self):
        return {
            "media_type": "image",
            "size": len(self.frames),
            "image_quality": 100,
            "start_frame": 0,
            "stop_frame": len(self.frames) - 1,
            "frame_filter": "",
            "chunk_size": len(self.frames),
            "chunks_updated_date": _TIME,
            "deleted_frames": [],
            "included_frames": None,
            "frames": [
                {
                    "width": 90,
                    "height": 60,
                    "name": name,
                    "related_files": 0,
                    "has_related_context": False,
                }
                for name, _ in self.frames
            ],
        }

    def _chunk(self):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for number, (_, path) in enumerate(self.frames):
                archive.writestr(f"{number:06}{path.suffix}", path.read_bytes())
        return data.getvalue()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        found = self.server.answer(parts.path.rstrip("/"), parse_qs(parts.query))
        if found is None:
            self.server.unknown.append(self.path)
            self._send(404, b"{}")
        elif isinstance(found, bytes):
            self._send(200, found, "application/zip")
        else:
            self._send(200, json.dumps(found).encode())

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, b"{}")
            return
        path, mark, query = self.path.partition("?")
        self.server.uploaded.append(((self.command, path.rstrip("/") + mark + query), body))
        self._send(200, json.dumps({"version": 1, "tags": [], "shapes": [], "tracks": []}).encode())

    do_PATCH = do_PUT  # noqa: N815  # as the library calls it

    def _send(self, status, data, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def _page(found):
    return {"count": len(found), "next": None, "previous": None, "results": found}


def serving(frames, labels):
    """Return a block in which a server has a task of these frames and labels."""
    return served(Server(frames, labels))
