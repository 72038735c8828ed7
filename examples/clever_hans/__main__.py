"""A classifier that cheats, and the report that shows it.

    python -m examples.clever_hans

Nine in ten squares carry a yellow tag in the corner, as photographs of one source do in a data set
that several people have put together. The network learns the tag: it's right, for the wrong
reason. Accuracy doesn't tell, the report on its maps does.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from camfleet import Client
from camfleet.local.stack import LocalStack

from .pictures import TAGGED, write

OUTPUT = Path("clever-hans-report")
PICTURES, TRAINED, EPOCHS = 120, 300, 12  # of each class; of each class; passes over them
SECONDS = 120


def main() -> int:
    """Train, explain, report; return 0 if the report puts the tagged class and its corner first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write(folder / "pictures", PICTURES, seed=0)
        with LocalStack(folder / "stack", file_roots=(folder,)) as stack:  # starts meanwhile
            print(train(folder))
            os.environ.update(stack.environ)
            stack.wait_for_worker(SECONDS)
            with Client(stack.settings) as client:
                return explain(client, folder / "shapes.toml", manifest)


def train(folder: Path) -> str:
    """Train the network and return how good it is.

    In a process of its own, so that TensorFlow's memory is free again.
    """
    command = [sys.executable, "-m", "examples.clever_hans.train", str(folder), str(TRAINED)]
    said = subprocess.run([*command, str(EPOCHS)], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def explain(client: Client, card: Path, manifest: Path) -> int:
    """Explain all pictures, write the report, and say what it found."""
    client.models.add(card)
    job = client.submit(str(manifest), models=["shapes"], target="top:1", keep_columns=["label"])
    job.wait(timeout=SECONDS)
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
