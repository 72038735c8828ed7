"""Who gives way to urgent images, and how often."""

from camfleet_worker.process.priority import RightOfWay


class WatchedWay(RightOfWay):
    """A right of way that notes in `given` each time that somebody gives it."""

    def __init__(self):
        super().__init__()
        self.given = []

    def give(self):
        self.given.append(1)
        super().give()
