"""Reviews over made-up results, without a worker: registered versions, a frozen set, runs."""

import hashlib

import numpy as np
from msgspec.structs import replace

from camfleet.audit.reporting import Reporter
from camfleet.contract.codec import encode_json
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.records import Item, ModelRef
from camfleet.contract.reviews import Accepted, Review, ReviewLimits
from camfleet.jobstore import keys, parquet
from camfleet.jobstore.manifest_parts import write_manifest
from camfleet.registry.author import Author
from camfleet.registry.entries import ModelEntry
from camfleet.reviews.frozen_set import freeze
from camfleet.reviews.judging import Judge
from camfleet.reviews.store import ReviewStore
from helpers.rows import blob, job, row

GRID = (7, 7)
COUNT, CHUNK, CLASSES = 240, 80, 6
CREATED = 1e9  # when reviews were created: long ago
AUTHOR = Author("tester", "here")


def version(storage, model_id, number):
    """Register a version of a model that isn't there, after those before it, and return it."""
    digest = hashlib.sha256(f"{model_id} {number}".encode()).hexdigest()
    ref = ModelRef(id=model_id, version=str(number), digest=digest)
    at = CREATED + sum(1 for _ in storage.keys(keys.registry(model_id)))
    entry = ModelEntry(id=ref.id, version=ref.version, digest=ref.digest, added_at=at)
    storage.put(keys.registry(ref.id, ref.version), encode_json(entry), "application/json")
    return ref


def maps(seed=0):
    """Return a map for each image."""
    rng = np.random.default_rng(seed)
    return [np.maximum(blob(rng, GRID), 0) for _ in range(COUNT)]


def noisy(found, strength=0.02):
    rng = np.random.default_rng(1)
    return [np.maximum(one + rng.normal(0, strength, GRID), 0) for one in found]


def elsewhere(found):
    return [np.roll(one, (3, 3), axis=(0, 1)) for one in found]


def result(ref, number, heat, class_index, **changed):
    """Return a result of a version."""
    whose = {"model_id": ref.id, "model_version": ref.version, "model_digest": ref.digest}
    return row(number, heat, class_index, **whose, **changed)


def rows(ref, found, **changed):
    """Return results of a version, of 6 classes in turn."""
    return [
        result(ref, number, one, number % CLASSES, **changed) for number, one in enumerate(found)
    ]


def parts(made):
    return [made[first : first + CHUNK] for first in range(0, len(made), CHUNK)]


def baseline_job(storage, job_id, ref, made):
    """Write the job of a baseline from its results, with its manifest, and return its record."""
    items = [Item(item_id=one.item_id, image_uri=one.image_uri) for one in made]
    write_manifest(storage, job_id, items, CHUNK, lambda _count: None)
    return replace(job(storage, job_id, parts(made), CHUNK, (ref,)), items=len(made))


def review(storage, name, ref, found, **changed):
    """Create a review over made-up maps of a baseline, and return it."""
    return review_of(storage, name, ref, rows(ref, found), **changed)


def review_of(storage, name, ref, results, **changed):
    """Create a review over results of a baseline, and return it."""
    record = baseline_job(storage, f"review-{name}-base-0", ref, results)
    accepted = Accepted(model=ref, job_id=record.job_id)
    made = Review(
        name=name,
        created_at=CREATED,
        sources=("somewhere",),
        baseline=accepted,
        first=accepted,
        set=freeze(name, record, storage, lambda _count: None),
        model=ref.id,
        method=record.method,
        layer=record.layer,
        fuse=None,
        limits=ReviewLimits(),
        accepted=0.0,
        floor=200,
        schedule=None,
        on_register=False,
        callback=None,
        paused=False,
    )
    made = replace(made, **changed)
    ReviewStore(storage).append(made, "created", AUTHOR, at=CREATED, after=None)
    return made


def change(storage, review, action="resumed", **changed):
    """Change a review, and return it."""
    store, made = ReviewStore(storage), replace(review, **changed)
    store.append(made, action, AUTHOR, at=CREATED, after=store.latest(review.name))
    return made


def judged(storage, review, run):
    """Return what a worker makes of a run, at a time that's long ago."""
    judge = Judge(storage, lambda: Reporter(storage, no_pictures))
    return judge.judge(review, run, CREATED + 100)


def write_results(storage, run, made):
    """Write made-up results of a run: rows, or None for a part that isn't there."""
    from camfleet.jobstore.records import read_record

    record = read_record(storage, run.job_id)
    for ref, own in zip(record.refs(), made, strict=True):
        if own is not None:
            data = parquet.write_results(own, 0, 2)
            storage.put(keys.results_part(record, ref), data, "application/octet-stream")


def no_pictures(request):
    """Answer as a worker that can't make small pictures."""
    return tuple(ErrorInfo(code="image_not_found", message="gone") for _ in request.images)
