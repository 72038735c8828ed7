"""Schemathesis, which has an environment of its own, asks a gateway all that OpenAPI names.

`make tools` runs it. tests/integration/test_gateway_anything.py is a short form of it.
"""

import json
import subprocess
from contextlib import closing

import pytest

from camfleet.contract.tokens import Limits
from camfleet.gateway.access.tokens import Tokens
from helpers.documents import ROOT
from helpers.gateway import Stream, gateway

pytestmark = pytest.mark.tools

PROGRAM = ROOT / ".tools" / "schemathesis" / "bin" / "schemathesis"
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "allow_header_conformance"),
    *("unsupported_method", "negative_data_rejection", "missing_required_header", "ignored_auth"),
)


@pytest.fixture(scope="module")
def web(worker_environ, folder, client):
    most = Limits(requests=100_000, jobs=100_000)
    scopes = ("explain", "jobs:read", "jobs:write", "admin")
    token, _ = Tokens(client.storage).create("schema", scopes, 1, most)
    with gateway(worker_environ, folder, token) as started:
        yield started


@pytest.fixture(scope="module")
def there(web, model, client, photos):
    """Give the ids of what there is: a job that is complete, and its model."""
    for number, path in enumerate(photos[:3]):
        client.storage.put(f"schema/{number}.png", path.read_bytes(), "image/png")
    body = {"models": model.id, "source": client.storage.uri("schema/")}
    made = web.ask("POST", "/v1/jobs", body, Idempotency_Key="schema").json
    with closing(Stream(web, made["job"]["job_id"])) as stream:
        while event := stream.next():
            kind = event[0]
        assert kind == "end"
    return {"path.job": made["job"]["job_id"], "path.model": model.id, "path.row": "0:0"}


@pytest.mark.parametrize("known", [False, True], ids=["any ids", "ids of what there is"])
def test_schemathesis_finds_no_answer_that_is_not_described(web, there, tmp_path, known):
    assert PROGRAM.exists(), "make tools makes its environment"
    config = tmp_path / "schemathesis.toml"
    rows = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in there.items()]
    config.write_text("\n".join(["[parameters]", *(rows if known else [])]))
    command = [
        *(PROGRAM, "--config-file", config, "run", f"http://127.0.0.1:{web.port}/openapi.json"),
        *("--header", f"Authorization: Bearer {web.token}", "--phases", "coverage,fuzzing"),
        *("--checks", ",".join(CHECKS), "--max-examples", "25", "--seed", "1"),
        *("--request-timeout", "90", "--continue-on-failure", "--no-shrink"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    described = web.ask("GET", "/openapi.json").json["paths"]
    count = sum(map(len, described.values())) - 1  # the description isn't asked for once more
    assert f"Tested: {count}\n" in done.stdout
