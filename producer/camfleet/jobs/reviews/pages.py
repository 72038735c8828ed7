"""The pages of a review's runs, copied to a folder that a browser can open."""

from camfleet.audit import files
from camfleet.contract.reviews import ReviewVerdict
from camfleet.errors import InvalidRequest
from camfleet.jobstore import review_keys
from camfleet.reviews.store import ReviewStore
from camfleet.storage.storage import Storage


def fetch(
    storage: Storage, store: ReviewStore, name: str, folder: str, model: str | None, *, first: bool
) -> str:
    """Copy the page of a review's latest verdict, see `Reviews.fetch_page`."""
    verdict = _latest(store, store.review(name).name, model)
    if verdict.page is None:
        why = "; ".join(verdict.reasons) or verdict.verdict
        raise InvalidRequest(f"run {verdict.run} of review {name} compared nothing: {why}")
    if first and verdict.first_page is None:
        raise InvalidRequest(
            f"the baseline of review {name} was the first one: its page without --first is that one"
        )
    files.check_place(storage, folder)
    prefix = (review_keys.first if first else review_keys.run)(name, verdict.run)
    return files.copy(storage, prefix, files.COMPARED, folder)


def _latest(store: ReviewStore, name: str, model: str | None) -> ReviewVerdict:
    for verdict in store.verdicts(name):
        if model in (None, f"{verdict.model.id}@{verdict.model.version}"):
            return verdict
    on, option = (f" on {model}", f" --model {model}") if model else ("", "")
    raise InvalidRequest(
        f"review {name} has no verdict{on} yet: camfleet review run {name}{option} --wait makes one"
    )
