"""The demo: real photographs, a real broker, a real S3 server, two real models.

    python -m examples.demo        (`make demo` does it)

Progress goes to stderr, the table to stdout, pictures and page to `demo-output/`. The exit code
is 0 if every explanation succeeded. Downloads and the converted model stay in `.demo/`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from camfleet import Client, Job
from camfleet.contract.results import Result, Status
from camfleet.errors import CamfleetError
from camfleet.foreign import visible_lines
from camfleet.local.stack import LocalStack

from .assets import AssetError, Assets, prepare

CACHE = Path(".demo")
OUTPUT = Path("demo-output")
IMAGES_PER_CHUNK = 4  # small, so that progress shows
WORKER_SECONDS = 120
JOB_SECONDS = 300
COLUMNS = ("image", "model", "class", "probability", "layer", "status", "heatmap")

_started = time.monotonic()


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        assets = prepare(CACHE, say)
        convert_if_missing(assets)
        results, gallery, report = explain_all(assets)
    except (AssetError, CamfleetError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    print(visible_lines(table(results)))
    failed = [result for result in results if result.status == Status.FAILED]
    say(f"{len(results) - len(failed)} explanations, {len(failed)} failed")
    for result in failed:
        say(f"failed: {Path(result.image_uri).name} with {result.model_id}: {result.error_message}")
    print(f"gallery: {gallery}")
    print(f"report: {report}")
    return 1 if failed else 0


def say(text: str) -> None:
    seconds = time.monotonic() - _started
    print(f"demo {seconds:6.1f} s  {visible_lines(text)}", file=sys.stderr, flush=True)


def convert_if_missing(assets: Assets) -> None:
    """Convert in a process of its own, so that TensorFlow's memory is free again afterwards."""
    if assets.lite0.exists():
        return
    say("convert EfficientNet-Lite0 from PyTorch to Keras")
    command = [sys.executable, "-m", "examples.demo.lite0", str(assets.weights), str(assets.lite0)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssetError(f"EfficientNet-Lite0 can't be converted:\n{done.stderr.strip()}")


def explain_all(assets: Assets) -> tuple[list[Result], str, str]:
    """Explain the photographs with Lite0 and the faces with the emotion model.

    Returns the results, and the pages of the gallery and of a report on the photographs.
    """
    shutil.rmtree(OUTPUT, ignore_errors=True)
    with LocalStack(CACHE / "stack", file_roots=(CACHE,), say=say) as stack:
        use(stack.environ)
        stack.wait_for_worker(WORKER_SECONDS)
        with Client(replace(stack.settings, chunk_size=IMAGES_PER_CHUNK)) as client:
            for card in assets.cards:
                add_model(client, card)
            jobs = [explain(client, assets.photos, "lite0")]
            jobs.append(explain(client, assets.faces, "emotion"))
            results = [result for job in jobs for result in job.results()]
            gallery = client.pictures.gallery([job.id for job in jobs], OUTPUT)
            report = write_report(client, jobs[0])
        say("stop the stack")
    return results, str(gallery.page), report


def write_report(client: Client, job: Job) -> str:
    """Write a report on a job; return its page."""
    say("write a report on the photographs")
    reporter = client.reporter()
    report = reporter.make(job.record())
    return reporter.write(report, reporter.photographs(report), str(OUTPUT / "report"))


def use(environ: Mapping[str, str]) -> None:
    """Give boto3 the stack's credentials, and none of the user's own."""
    for name in [key for key in os.environ if key.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(environ)


def add_model(client: Client, card: Path) -> None:
    say(f"register {card.parent.name}: upload, then a worker loads it and checks its golden image")
    ref, report = client.models.add(card, replace=True, promote=True)
    say(f"registered {ref.id}@{ref.version}, to be explained at layer {report.get('layer')}")


def explain(client: Client, photos: Sequence[Path], model: str) -> Job:
    """Return a job that is complete."""
    uris = [str(photo.resolve()) for photo in photos]
    job = client.submit(uris, models=[model], target="top:3", method="gradcam")
    for progress in job.watch(timeout=JOB_SECONDS):
        say(f"{model}: {progress.done} of {progress.total} images, {progress.failed} failed")
    if not job.status().complete:
        raise CamfleetError(f"job {job.id} of {model} is not done after {JOB_SECONDS} s")
    return job


def table(results: Sequence[Result]) -> str:
    rows = [
        (
            Path(result.image_uri).name,
            result.model_id,
            result.class_name,
            result.probability,
            result.layer,
            result.status,
            result.heatmap_uri or result.error_message,
        )
        for result in results
    ]
    return str(tabulate(rows, headers=COLUMNS, floatfmt=".3f"))


if __name__ == "__main__":
    sys.exit(main())
