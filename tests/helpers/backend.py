"""A web backend for gunicorn --preload, whose client was used before its workers were forked."""

import json
import os

from camfleet import Client

client = Client.from_environ()
image = os.environ["IMAGE"]
client.explain(image, model="patches").result(timeout=30)


def app(environ, start_response):
    (result,) = client.explain(image, model="patches").result(timeout=30)
    progress = client.submit([image], models="patches").wait(timeout=180)
    answer = {"class": result.class_name, "ok": progress.ok, "process": os.getpid()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
