"""Named points where the fault suite holds a process, to kill it or its servers right there.

A file named like a point, in the folder CAMFLEET_FAULT_DIR, arms it. A process that reaches an
armed point writes `<point>.<pid>` beside that file and waits until the file is gone. Without the
setting nothing is checked.
"""

import os
import time
from pathlib import Path

_PAUSE = 0.02


class FaultPoints:
    """The points of one process."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def reach(self, point: str) -> None:
        """Wait here if `point` is armed."""
        if self._folder is None:
            return
        armed = self._folder / point
        if armed.exists():
            (self._folder / f"{point}.{os.getpid()}").touch()
            while armed.exists():
                time.sleep(_PAUSE)
