"""Studies in the test's own process: rows and images as a worker would have them."""

from camfleet.contract.geometry import Geometry
from camfleet.contract.outputs import Outputs
from camfleet.contract.records import ChunkRef, Item
from camfleet.contract.studies import FaithfulnessStudy, StudyRequest
from camfleet.contract.targets import Target
from camfleet_worker.pipeline.batcher import Batcher
from camfleet_worker.pipeline.image import ImageTask, Query
from camfleet_worker.prometheus import Metrics
from camfleet_worker.studies import faithfulness
from camfleet_worker.studies.study import StudiedRow, Study
from helpers.rows import MODEL, row

METRICS = Metrics()


def study(explainer, pixels, *, class_index=0, steps=8, heads=0, extras=(), **changed):
    """Return a study of images, (N, H, W, C) as the model takes them, of which all is shown.

    A map that speaks against the class everywhere is lifted until some of it speaks for it.
    """
    height, width = explainer.shape[:2]
    whole = Geometry(
        image_height=height, image_width=width, input_height=height, input_width=width,
        left=0, top=0, right=width, bottom=height,
    )  # fmt: skip
    targets = [Target(kind="index", index=class_index)] * len(pixels)
    explained = explainer.explain(pixels, targets, "gradcam", extras)
    rows = []
    for number, (image, (found,)) in enumerate(zip(pixels, explained, strict=True)):
        task = ImageTask(Item(item_id=f"item {number}", image_uri=f"/{number}.png"), "top")
        task.pixels, task.geometry = image, explainer.place(whole)
        task.extras = tuple(extra[number] for extra in extras)
        result = row(
            f"item {number}",
            found.raw if found.raw.max() > 0 else found.raw - found.raw.min() + 1,
            class_index,
            probability=found.probability,
            geometry=task.geometry,
            **changed,
        )
        rows.append(StudiedRow(number, result, task))
    request = StudyRequest(
        chunk=ChunkRef(job_id="job", model=0, part=0, retry=0),
        digest="0" * 64,
        study=FaithfulnessStudy(steps=steps, heads=heads),
        rows=tuple(range(len(rows))),
    )
    return Study(
        request=request,
        record=None,
        query=Query(MODEL, "top", "gradcam", "auto", None, Outputs(kinds=())),
        explainer=explainer,
        batcher=Batcher(METRICS, gpu=False),
        rows=tuple(rows),
        decode=lambda _images: None,
        check=lambda: None,
        give_way=lambda: None,
    )


def measure(explainer, pixels, **options):
    """Return what's measured of each of (N, H, W, C) images."""
    return faithfulness.measure(study(explainer, pixels, **options)).rows
