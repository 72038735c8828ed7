"""How much JavaScript the gateway's page has, as it lies there and as it's sent."""

import re
from collections.abc import Iterable, Mapping
from posixpath import dirname, join, normpath
from typing import Any

from camfleet.gateway.page import File, Page


def javascript() -> dict[str, Any]:
    """Count the page's JavaScript: all of it, and the most that opening one view takes."""
    files = {path: file for path, file in Page().files.items() if path.endswith(".js")}
    views = [_needed(files, {"/page/app.js", path}) for path in files if "/views/" in path]

    def kilobytes(paths: Iterable[str], *, sent: bool) -> float:
        found = (files[path].packed if sent else files[path].content for path in paths)
        return round(sum(map(len, found)) / 1000, 1)

    return {
        "name": "gateway_page_javascript",
        "files": len(files),
        "kb": kilobytes(files, sent=False),
        "kb_sent": kilobytes(files, sent=True),
        "view_kb": max(kilobytes(view, sent=False) for view in views),
        "view_kb_sent": max(kilobytes(view, sent=True) for view in views),
    }


def _needed(files: Mapping[str, File], paths: set[str]) -> set[str]:
    """Return the scripts that load with some: their static imports, and theirs."""
    named = {
        normpath(join(dirname(path), name))
        for path in paths
        for name in re.findall(r'^import .*"(\..*)";$', files[path].content.decode(), re.MULTILINE)
    }
    return paths if named <= paths else _needed(files, paths | named)
