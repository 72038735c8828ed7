"""Named points at which the fault suite holds a process, to kill it or its servers just there.

A point is armed by a file of its name in the folder that CAMFLEET_FAULT_DIR names. A process that
reaches it writes `<point>.<pid>` beside it and waits until the file is gone. Without the setting
nothing is looked at.
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
