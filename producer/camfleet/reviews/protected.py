"""Which jobs and versions reviews need: who deletes jobs or removes versions leaves these."""

from collections.abc import Iterator

from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage

JOBS = "review-"  # how the ids of all jobs of reviews begin


def protected_jobs(storage: Storage) -> dict[str, str]:
    """Return the jobs that may not be deleted, each with the review that needs it, in words.

    Those are the jobs of the baseline and of the first one, and of the run that was started last.
    Raises `InvalidRequest` naming a review that can't be read: nobody knows what it needs.
    """
    store, found = ReviewStore(storage), {}
    for name in store.names():
        change = store.latest(name)
        if change is None:
            continue
        review = change.review
        run = store.state(review).run
        jobs = (review.baseline.job_id, review.first.job_id, run.job_id if run else "")
        found.update({job_id: f"review {name}" for job_id in jobs if job_id})
    return found


def reviews_naming(storage: Storage, model_id: str, version: str) -> Iterator[str]:
    """Yield the reviews that name a version of a model, in words.

    As their baseline or their first one, or because they review just that version. Raises
    `InvalidRequest` naming a review that can't be read.
    """
    store = ReviewStore(storage)
    for name in store.names():
        change = store.latest(name)
        if change is None:
            continue
        review = change.review
        accepted = {(one.model.id, one.model.version) for one in (review.baseline, review.first)}
        if (model_id, version) in accepted or review.model == f"{model_id}@{version}":
            yield f"review {name}"
