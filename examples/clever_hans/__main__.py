"""A classifier that cheats, and the report that shows it.

    python -m examples.clever_hans

Nine in ten squares carry a yellow tag in the corner, as photographs of one source do in a data set
that several people have put together. The network learns the tag: it's right, for the wrong
reason. Accuracy doesn't tell, the report on its maps does.

What it found goes to stdout, progress to stderr; that takes a minute or two.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from camfleet import Client
from camfleet.errors import CamfleetError
from camfleet.local.stack import LocalStack

from .pictures import CLASSES, TAGGED, write

OUTPUT = Path("clever-hans-report")
PICTURES, TRAINED, EPOCHS = 120, 300, 12  # of each class; of each class; passes over them
SECONDS = 120

_started = time.monotonic()


def main() -> int:
    """Train, explain, report; return 0 if the report puts the tagged class and its corner first."""
    try:
        return run()
    except CamfleetError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def run() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"draw {PICTURES * len(CLASSES)} pictures, of which most squares get a tag")
        manifest = write(folder / "pictures", PICTURES, seed=0)
        say("start a broker, an object store and a worker")
        with LocalStack(folder / "stack", file_roots=(folder,)) as stack:  # starts meanwhile
            say(f"train a small network on {TRAINED * len(CLASSES)} others, {EPOCHS} times over")
            print(train(folder))
            os.environ.update(stack.environ)
            stack.wait_for_worker(SECONDS)
            with Client(stack.settings) as client:
                found = explain(client, folder / "shapes.toml", manifest)
            say("stop the servers")
        return found


def say(text: str) -> None:
    seconds = time.monotonic() - _started
    print(f"clever hans {seconds:6.1f} s  {text}", file=sys.stderr, flush=True)


def train(folder: Path) -> str:
    """Train the network and return how good it is; say how far it is.

    In a process of its own, so that TensorFlow's memory is free again.
    """
    command = [sys.executable, "-m", "examples.clever_hans.train", str(folder), str(TRAINED)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*command, str(EPOCHS)], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child,
    ):
        assert child.stdout
        line = ""
        for line in child.stdout:
            if line.startswith("pass "):
                say(line.strip())
        if child.wait():
            errors.seek(0)
            raise SystemExit(f"the network can't be trained:\n{errors.read().strip()}")
    return line.strip()


def explain(client: Client, card: Path, manifest: Path) -> int:
    """Explain all pictures, write the report, and say what it found."""
    say("add the network: the worker loads and checks it")
    client.models.add(card)
    job = client.submit(str(manifest), models=["shapes"], target="top:1", keep_columns=["label"])
    say(f"explain {job.record().images} pictures")
    job.wait(timeout=SECONDS)
    say("write the report; the worker makes small pictures for it")
    reporter = client.reporter()
    report = reporter.make(reporter.record(job.id))
    page = reporter.write(report, reporter.photographs(report), str(OUTPUT))
    model = report.models[0]
    first = model.groups[0].classes[0]
    if model.labels:
        share = model.labels.right / model.labels.images
        print(f"right answers: {100 * share:.0f} %")
    for cell in first.flagged:
        row, column = cell.cell
        where = f"row {row + 1}, column {column + 1}"
        print(f"suspicious: {first.class_name}, {cell.peaks} of {cell.of} maps peak in {where}")
    print(f"report: {page}")
    return 0 if first.class_name == TAGGED and first.flagged else 1


if __name__ == "__main__":
    sys.exit(main())
