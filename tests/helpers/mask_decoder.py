"""A tool's own decoder of masks, in its own Python, asked as often as a test likes."""

import json
import subprocess

import numpy as np

from helpers.tool_pythons import SCRIPTS, python_of


class Decoder:
    """Runs `tests/tools/decode_TOOL.py`, which answers each line with one."""

    def __init__(self, tool):
        self._python = python_of(tool)
        self._script = SCRIPTS / f"decode_{tool.removesuffix('-sdk').replace('-', '_')}.py"

    def decode(self, code, size):
        """Return the mask of a code for an image of `size` (height, width), as uint8."""
        self._child.stdin.write(json.dumps({"code": code, "size": size}) + "\n")
        self._child.stdin.flush()
        counts = json.loads(self._child.stdout.readline())
        values, lengths = np.reshape(counts, (-1, 2)).T
        return np.repeat(values, lengths).astype(np.uint8).reshape(size)

    def __enter__(self):
        self._child = subprocess.Popen(
            [self._python, "-P", self._script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self._child.stdin.close()
        self._child.wait(30)
        self._child.stdout.close()
