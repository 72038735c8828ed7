"""Label Studio's backend beside the Python client, on the same worker; brushes of large pictures.

Both ask for the same 100 images in turn, the client all at once: the model is warm, images lie in
S3, boxes are derived. No answer is one that was kept: each round asks for another threshold.
`TASKS=20` for fewer.
"""

import base64
import http.client
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import nets, photographs
from benchmarks.exports import _brushes
from benchmarks.fleet import Fleet
from benchmarks.gateway import MODEL, Gateway, _gateway
from camfleet import Client
from camfleet.exports.files import xml

TASKS = int(os.environ.get("TASKS", "100"))
ROUNDS = 7


def benchmarks() -> Iterator[dict[str, Any]]:
    """Yield what a selection takes, with boxes and with heat, and then single brushes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Fleet(folder) as fleet:
            uris = photographs.upload(fleet.client.storage, TASKS)
            with fleet.worker() as worker:
                worker.ready()
                fleet.client.models.add(nets.write(MODEL, folder / MODEL))
                labels = fleet.client.models.card(fleet.client.models.find(MODEL).digest).label_list
                config = _config(labels or list(map(str, range(1000))))
                with _gateway(fleet.client, folder) as gateway:
                    for heat in (False, True):
                        yield _selections(fleet.client, gateway, uris, config, heat=heat)
    yield from _brushes()


def _selections(
    client: Client, gateway: Gateway, uris: Sequence[str], config: str, *, heat: bool
) -> dict[str, Any]:
    backend: list[float] = []
    direct: list[float] = []
    for number in range(ROUNDS + 1):
        threshold = 0.5 + number / 1000 + heat / 100
        ways = [
            lambda at=threshold: backend.append(_predict(gateway, uris, config, at, heat=heat)),
            lambda at=threshold: direct.append(_direct(client, uris, at, heat=heat)),
        ]
        for ask in ways if number % 2 else reversed(ways):
            ask()
    del backend[0], direct[0]  # the first round warms up
    ratios = sorted(ours / theirs for ours, theirs in zip(backend, direct, strict=True))
    return {
        "name": f"predict_of_{len(uris)}_tasks{'_with_heat' if heat else ''}",
        "model": MODEL,
        "seconds": round(median(backend), 2),
        "client_seconds": round(median(direct), 2),
        "ratio": round(median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def _predict(
    gateway: Gateway, uris: Sequence[str], config: str, threshold: float, *, heat: bool
) -> float:
    tasks = [{"id": number, "data": {"image": uri}} for number, uri in enumerate(uris, 1)]
    body = json.dumps({"tasks": tasks, "project": "1.1", "label_config": config})
    word = base64.b64encode(f"camfleet:{gateway.token}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json"}
    options = f"threshold={threshold}&heat={int(heat)}"
    path = f"/integrations/label-studio/{MODEL}/{options}/predict"
    start = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        found = answer.read()
    seconds = time.perf_counter() - start
    if answer.status != 200 or not all(json.loads(found)["results"]):
        raise RuntimeError(f"{answer.status}: {found[:500]!r}")
    return seconds


def _direct(client: Client, uris: Sequence[str], threshold: float, *, heat: bool) -> float:
    start = time.perf_counter()
    answers = [
        client.explain(
            uri,
            model=MODEL,
            shapes=["box"],
            threshold=threshold,
            pictures=["raw"] if heat else [],
        )
        for uri in uris
    ]
    for answer in answers:
        answer.result(timeout=120)
    return time.perf_counter() - start


def _config(labels: Sequence[str]) -> str:
    named = [f'"{xml(label)}"' for label in labels]
    return "".join(
        (
            '<View><Image name="i" value="$image"/><Choices name="c" toName="i">',
            *(f"<Choice value={label}/>" for label in named),
            '</Choices><RectangleLabels name="b" toName="i">',
            *(f"<Label value={label}/>" for label in named),
            '</RectangleLabels><BrushLabels name="heat" toName="i"><Label value="heat"/>',
            "</BrushLabels></View>",
        )
    )
