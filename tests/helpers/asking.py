"""People who ask for explanations all the time, as a program, and what they were told."""

import json
from collections import Counter
from dataclasses import dataclass

ASK = """
import json, pathlib, sys, threading, time
from camfleet import Client
from camfleet.errors import CamfleetError
_, end, uri, model = sys.argv

def ask():
    while not pathlib.Path(end).exists():
        begun = time.monotonic()
        try:
            said = client.explain(uri, model=model, pictures=[]).result(20)[0].class_name
        except CamfleetError as error:
            said = f"{error.code}: {error}"
        sys.stdout.write(json.dumps([begun, time.monotonic() - begun, said]) + "\\n")
        sys.stdout.flush()
        time.sleep(0.2)

with Client.from_environ() as client:
    threads = [threading.Thread(target=ask) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


@dataclass(frozen=True)
class Asked:
    """One interactive request: by the clock of `time.monotonic`, which all processes share."""

    begun: float
    seconds: float
    said: str


class Log:
    """What the people have asked so far, and what came of it."""

    def __init__(self, asker):
        self._asker = asker

    def all(self):
        said = self._asker.said()
        assert "Traceback" not in said, said
        lines = said[: said.rfind("\n") + 1].splitlines()
        return [Asked(*json.loads(line)) for line in lines if line.startswith("[")]

    def answered(self, since=0.0):
        """Return the requests begun since then that were answered."""
        return [each for each in self.all() if each.said == "bright" and each.begun >= since]

    def failed(self):
        return [each for each in self.all() if each.said != "bright"]

    def check(self, bound):
        """Prove that people were answered, or told why not, and that nobody waited for ever."""
        codes = {each.said.partition(":")[0] for each in self.failed()}
        assert codes <= {"answer_timeout", "broker_unavailable"}, codes
        assert self.answered()
        assert max(each.seconds for each in self.all()) < bound

    def summary(self):
        return summary(self.all())


def summary(asked):
    """Return how many requests came out how, and how long they took, in one line."""
    seconds = sorted(each.seconds for each in asked)
    middle, longest = seconds[len(seconds) // 2], seconds[-1]
    counts = dict(Counter(each.said for each in asked))
    return f"{len(asked)} requests, median {middle:.2f} s, longest {longest:.2f} s: {counts}"
