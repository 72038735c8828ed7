"""Reviews as the bucket holds them: each change of one is an object that nobody writes again.

Whoever changes a review writes the next number, on the condition that nobody else has. Each change
holds all that is true since then, so whoever wants to know that reads the latest one only.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec.structs import replace

from camfleet.contract.codec import Document, decode_document, encode_json, sealed
from camfleet.contract.reviews import (
    MOST_CHANGES,
    REVIEW,
    Action,
    Review,
    ReviewChange,
    ReviewState,
    ReviewVerdict,
    StartedRun,
    Trouble,
)
from camfleet.errors import InvalidRequest, ObjectChanged, ObjectMissing, ObjectTooLarge
from camfleet.jobstore import objects, review_keys
from camfleet.registry.author import Author
from camfleet.reviews.judging import came_to_nothing
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)

MOST_REVIEWS = 10_000
_FORM = 2  # reviews came with 0.2.0
_JSON = "application/json"
_MOST = 2**20  # bytes of a document
_TRIES = 20


def check_name(name: str) -> None:
    if not isinstance(name, str) or not re.match(REVIEW, name):
        raise InvalidRequest(
            f"{name!r} is no name of a review: letters, digits, dot, dash and underscore, at most "
            "64 of them"
        )


class ReviewStore:
    """Reads and writes reviews. What lies in the bucket is read as a stranger's."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def names(self) -> Iterator[str]:
        """Yield the names of all reviews, in order, also of those that aren't complete.

        Beyond `MOST_REVIEWS` names they are ignored, with a warning.
        """
        folders = self._storage.folders(review_keys.PREFIX)
        for number, folder in enumerate(folders):
            if number == MOST_REVIEWS:
                where = self._storage.uri(review_keys.PREFIX)
                logger.warning("%s has more than %d folders: the rest is ignored", where, number)
                return
            if name := review_keys.name_of(folder):
                yield name

    def latest(self, name: str) -> ReviewChange | None:
        """Return the latest change of a review, None where there's none or it was deleted.

        Raises `InvalidRequest` for what can't be read.
        """
        found = self.newest(name)
        return found if found and found.action != "deleted" else None

    def newest(self, name: str) -> ReviewChange | None:
        """Return as `latest` does, also the mark of one that is being deleted."""
        number = max(self._numbers(name), default=0)
        return self._read_change(name, number) if number else None

    def review(self, name: str) -> Review:
        """Return a review; raise `InvalidRequest` where there's none, or it isn't complete."""
        check_name(name)
        found = self.latest(name)
        if found is None:
            raise InvalidRequest(f"there is no review {name!r}: camfleet review list names all")
        if found.review.set is None:
            raise InvalidRequest(
                f"review {name!r} isn't complete: repeat camfleet review create {name} with the "
                f"same words, or camfleet review delete {name}"
            )
        return found.review

    def history(self, name: str) -> list[ReviewChange]:
        """Return the changes of a review, the newest first."""
        return [self._read_change(name, number) for number in sorted(self._numbers(name))[::-1]]

    def append(
        self,
        review: Review,
        action: Action,
        author: Author,
        *,
        at: float,
        after: ReviewChange | None,
        reason: str | None = None,
        movement: float | None = None,
    ) -> ReviewChange:
        """Write what a review is from now on; raise `ObjectChanged` if somebody was faster.

        `at` is the time by Redis' clock.
        """
        number = after.number + 1 if after else 1
        if number > MOST_CHANGES:
            raise InvalidRequest(
                f"review {review.name!r} was changed {MOST_CHANGES} times: make a new one"
            )
        made = ReviewChange(
            schema_version=1,
            number=number,
            action=action,
            changed_at=at,
            user=author.user,
            host=author.host,
            reason=reason,
            movement=movement,
            review=review,
        )
        self._create(review_keys.change(review.name, number), made, review.name)
        return made

    def state(self, review: Review) -> ReviewState:
        """Return what was started last; of one that can't be read nothing is known."""
        return self._state(review)[0]

    def note(self, review: Review, **changed: float | StartedRun | Trouble | None) -> None:
        """Change the state: for which time it was done `last`, which `run` was started last.

        Or which `trouble` there is.
        """
        for _ in range(_TRIES):
            found, etag = self._state(review)
            made = replace(found, **changed)
            if made == found:
                return
            data, key = encode_json(sealed(made, _FORM)), review_keys.state(review.name)
            try:
                objects.write_over(self._storage, key, data, etag)
            except ObjectChanged:
                continue
            return
        raise ObjectChanged(
            f"{self._storage.uri(review_keys.state(review.name))} changes all the time"
        )

    def verdict(self, name: str, run: str) -> ReviewVerdict | None:
        """Return what came of a run, None where nothing is known yet, or it can't be read."""
        key = review_keys.verdict(name, run)
        try:
            found = objects.read_document(self._storage, key, ReviewVerdict, _MOST)
        except (ObjectMissing, InvalidRequest):
            return None
        return found if (found.name, found.run) == (name, run) else None

    def verdicts(self, name: str) -> list[ReviewVerdict]:
        """Return what came of all runs of a review, the newest first."""
        runs = (
            review_keys.run_of(folder, name)
            for folder in self._storage.folders(review_keys.runs(name))
        )
        found = (self.verdict(name, run) for run in runs if run)
        return sorted((one for one in found if one), key=lambda one: -one.decided_at)

    def write_verdict(self, verdict: ReviewVerdict) -> ReviewVerdict:
        """Write what came of a run, and return what is kept: that of whoever was first.

        One that came to nothing is written over.
        """
        key = review_keys.verdict(verdict.name, verdict.run)
        data = encode_json(sealed(verdict, _FORM))
        for _ in range(_TRIES):
            etag = self._etag(key)
            there = self.verdict(verdict.name, verdict.run)  # as new as the ETag, or newer
            if there and not came_to_nothing(there):
                return there
            with suppress(ObjectChanged):
                objects.write_over(self._storage, key, data, etag)
                return sealed(verdict, _FORM)
        raise ObjectChanged(f"{self._storage.uri(key)} changes all the time")

    def forget_verdict(self, name: str, run: str) -> None:
        self._storage.delete([review_keys.verdict(name, run)])

    def remove(self, name: str, on_step: Callable[[int], object] = lambda _count: None) -> None:
        """Delete all that lies of a review, the mark that it's deleted last."""
        own = sorted(
            self._storage.keys(review_keys.folder(name)),
            key=lambda key: review_keys.change_number(key, name) or 0,
        )
        for start in range(0, len(own), 1000):
            self._storage.delete(own[start : start + 1000])
            on_step(start)

    def _etag(self, key: str) -> str | None:
        try:
            return self._storage.get(key, limit=_MOST).etag
        except ObjectTooLarge:  # nobody of ours wrote that
            self._storage.delete([key])
        except ObjectMissing:
            pass
        return None

    def _state(self, review: Review) -> tuple[ReviewState, str | None]:
        """Return the state and its ETag, None where there's no object."""
        key = review_keys.state(review.name)
        nothing = ReviewState(schema_version=1, name=review.name, last=review.created_at, run=None)
        try:
            stored = objects.read(self._storage, key, _MOST)
        except ObjectMissing:
            return nothing, None
        try:
            found = decode_document(stored.data, ReviewState)
        except InvalidRequest:
            return nothing, stored.etag
        return (found if found.name == review.name else nothing), stored.etag

    def _read_change(self, name: str, number: int) -> ReviewChange:
        key = review_keys.change(name, number)
        found = objects.read_document(self._storage, key, ReviewChange, _MOST)
        if (found.review.name, found.number) != (name, number):
            raise InvalidRequest(
                f"{self._storage.uri(key)} is a change of another review or number"
            )
        return found

    def _numbers(self, name: str) -> list[int]:
        found = objects.keys_below(self._storage, review_keys.changes(name), 2 * MOST_CHANGES)
        return [number for key in found if (number := review_keys.change_number(key, name))]

    def _create(self, key: str, document: Document, name: str) -> None:
        data = encode_json(sealed(document, _FORM))
        try:
            self._storage.create(key, data, _JSON)
        except ObjectChanged as error:
            if self._storage.get(key).data != data:  # else ours, whose answer got lost
                raise ObjectChanged(
                    f"somebody else has changed review {name!r} meanwhile: look at camfleet review "
                    f"history {name}, then repeat this"
                ) from error
