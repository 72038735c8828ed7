"""The documents' JavaScript does what it says."""

import os
import shutil
import subprocess

import pytest

from helpers import documents

pytestmark = pytest.mark.browser

PAGES = ["http-api.md"]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_shown_in_javascript_runs(page, client, web, token, model, photos, tmp_path):
    node = shutil.which("node")
    assert node, "install Node.js: documented JavaScript is tried with it"
    for photo in photos[:2]:
        client.storage.upload(f"shown/{photo.name}", str(photo))
    blocks = [
        block.text
        for block in documents.blocks(documents.ROOT / "docs" / page)
        if block.language == "js"
    ]
    assert blocks
    for text in blocks:
        for old, new in (
            ("http://127.0.0.1:8100", f"http://127.0.0.1:{web.port}"),
            ("flowers", model.id),
            ("s3://my-bucket/photos/", client.storage.uri("shown/")),
        ):
            text = text.replace(old, new)  # noqa: PLW2901  # one after the other
        script = tmp_path / "shown.mjs"
        script.write_text(text)
        environ = {**os.environ, "TOKEN": token}
        done = subprocess.run(
            [node, script], check=False, env=environ, capture_output=True, text=True
        )
        assert done.stdout == "2 explained, 0 failed\n", done.stderr
