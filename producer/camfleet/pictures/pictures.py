"""The pictures of jobs, from end to end: fetch them, draw them anew, show them in a gallery."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from camfleet.contract import unused
from camfleet.contract.codec import decode, encode
from camfleet.contract.outputs import (
    DEFAULT_DRAWING,
    Colormap,
    Components,
    Drawing,
    Drawn,
    Picture,
    Threshold,
)
from camfleet.contract.results import Result
from camfleet.errors import ConfigurationError, InvalidRequest, ObjectMissing, check_timeout
from camfleet.jobstore import keys, stored_pictures
from camfleet.jobstore.stored_pictures import Stored
from camfleet.pictures import files, names, originals
from camfleet.pictures.drawings import Draughtsman, has_map
from camfleet.pictures.files import Folder, OnStep, Saved, Wanted
from camfleet.pictures.questions import Questions
from camfleet.pictures.rows import Query, Row, Rows
from camfleet.storage.clouds import Clouds
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.results.query import Filters

ORIGINAL = "original"
KINDS = (*keys.PICTURES, ORIGINAL)
_HOUR = 3600

FolderPath = str | os.PathLike[str]


class DrawingOptions(TypedDict, total=False):
    """How to draw: the fields of `camfleet.contract.outputs.Drawing`."""

    picture: Drawn
    colormap: Colormap | None
    opacity: float
    max_side: int | None
    threshold: Threshold
    components: Components


class Pictures:
    """Opens the pictures of jobs. Safe to share by threads; files that are there stay."""

    def __init__(
        self, storage: Storage, questions: Questions, most_bytes: int, clouds: Clouds
    ) -> None:
        self._storage = storage
        self._clouds = clouds
        self._questions = questions
        self._most_bytes = most_bytes  # of a photograph

    def presign(self, uri: str, seconds: int = _HOUR) -> str:
        """Return a URL that anybody can open for 1 second to 7 days.

        Raises `InvalidRequest` for another time, and for a URI that isn't in our bucket.
        """
        return self._storage.presign(uri, seconds)

    def urls(self, result: Result, seconds: int = _HOUR) -> dict[str, str]:
        """Return such a URL for each picture that a result has, by its kind: "overlay", ...

        Raises `InvalidRequest` for packed pictures, which `read` and `save` fetch.
        """
        if result.pack:
            raise stored_pictures.refuse_urls(result.image_uri)
        found = ((kind, getattr(result, f"{kind}_uri")) for kind in keys.PICTURES)
        return {kind: self.presign(uri, seconds) for kind, uri in found if uri}

    def read(self, result: Result | Row, kind: Picture = "overlay") -> bytes:
        """Return the bytes of a picture, of its own object or of a pack.

        Raises `ObjectMissing` where the result has no such picture or it's gone, `ObjectDamaged`
        where the result names what camfleet didn't write.
        """
        row = _plain(result)
        found = stored_pictures.find(row, kind)
        if found is None:
            raise ObjectMissing(f"the result of {row['image_uri']} has no {kind}")
        return found.read(self._storage)

    def get(
        self,
        job_id: str,
        folder: FolderPath,
        *,
        kinds: Picture | str | Iterable[str] = ("overlay",),
        on_part: OnStep = files.ignore,
        on_picture: OnStep = files.ignore,
        **filters: "Unpack[Filters]",
    ) -> Saved:
        """Write pictures of a job into a folder, under names that say image, rank and class.

        `kinds` are those of `explain` and "original", the photographs as they are. The filters are
        those of `Job.results`. What can't be had is in the answer's `failures`. Raises
        `UnknownJob`, `InvalidRequest`, and what an outage raises: the next call goes on.
        """
        wanted = _kinds(kinds)
        own = ["pack", *(f"{kind}_uri" for kind in wanted if kind != ORIGINAL)]
        query = Query.of(self._storage, job_id, own, dict(filters))
        _refuse_unwritten(query, wanted)
        into = Folder(folder)
        parts = query.read(self._storage, into.saved, on_part)
        found = (one for part in parts for one in self._wanted(part, wanted, query, into.saved))
        into.save(found, on_picture)
        return into.saved

    def render(
        self,
        job_id: str,
        folder: FolderPath,
        *,
        drawing: Drawing | DrawingOptions | None = None,
        timeout: float = 60,
        on_part: OnStep = files.ignore,
        on_picture: OnStep = files.ignore,
        **filters: "Unpack[Filters]",
    ) -> Saved:
        """Have workers draw a job's maps as `drawing` says, without the model; write the pictures.

        They stay in the job's folder of the bucket too, so that nothing is drawn twice. Raises
        what `get` does, and `AnswerTimeout` where no worker answers within `timeout` seconds.
        """
        check_timeout(timeout)
        how = _drawing(drawing)
        query = Query.of(self._storage, job_id, (), dict(filters))
        into = Folder(folder)
        worker = Draughtsman(self._storage, partial(self._questions.render, timeout=timeout), how)

        def wanted() -> Iterator[Wanted]:
            for part in query.read(self._storage, into.saved, on_part):
                into.saved.without += sum(not has_map(row) for _, row in part.rows)
                yield from worker.wanted(part, with_model=query.with_model)

        into.save(wanted(), on_picture)
        return into.saved

    def gallery(
        self,
        jobs: str | Iterable[str],
        folder: FolderPath,
        *,
        page_size: int = 100,
        timeout: float = 60,
        on_part: OnStep = files.ignore,
        on_picture: OnStep = files.ignore,
        **filters: "Unpack[Filters]",
    ) -> Saved:
        """Write pages that show the overlays of one or several jobs beside the photographs.

        The folder holds all that they need. Overlays that the job didn't write are drawn by
        workers, as are the small photographs. Raises what `render` does, `ConfigurationError`
        where the extra `report` isn't installed.
        """
        check_timeout(timeout)
        if page_size < 1:
            raise InvalidRequest(f"page_size is {page_size}: a page shows at least one image")
        try:
            from camfleet.pictures import gallery
        except ImportError as error:
            raise ConfigurationError(
                f"galleries need {error.name}, which comes with camfleet's extra `report`"
            ) from error
        ids = [jobs] if isinstance(jobs, str) else list(jobs)
        queries = [Query.of(self._storage, one, gallery.COLUMNS, dict(filters)) for one in ids]
        made = gallery.Gallery(self._storage, self._questions, timeout, Folder(folder), on_picture)
        return made.write(queries, page_size, on_part)

    def save(self, results: Result | Row | Iterable[Result | Row], folder: FolderPath) -> Saved:
        """Write all pictures of results and their photographs into a folder, as `get` does.

        A result is one of an answer, or as plain data.
        """
        into = Folder(folder)
        several = [results] if isinstance(results, Result | dict) else results
        found: dict[tuple[str, ...], Wanted] = {}
        for row in map(_plain, several):
            if row["status"] == "failed":
                into.saved.without += 1
                continue
            pictures = (stored_pictures.find(row, kind) for kind in keys.PICTURES)
            own = [self._picture(row, one, with_model=False) for one in pictures if one]
            found |= {one.names: one for one in (*own, self._original(row))}
        into.save(found.values())
        return into.saved

    def _wanted(
        self, part: Rows, kinds: tuple[str, ...], query: Query, saved: Saved
    ) -> Iterator[Wanted]:
        found: dict[tuple[str, ...], Wanted] = {}
        with_model = query.with_model
        for _, row in part.rows:
            for kind in kinds:
                if row["status"] == "failed":
                    saved.without += 1
                elif kind == ORIGINAL:
                    one = self._original(row)
                    found[one.names] = one  # an image's rows share its photograph
                elif picture := stored_pictures.find(row, kind):
                    one = self._picture(row, picture, query.record.job_id, with_model=with_model)
                    found[one.names] = one
                else:
                    saved.without += 1
        yield from found.values()

    def _picture(
        self, row: Row, picture: Stored, job_id: str | None = None, *, with_model: bool
    ) -> Wanted:
        end = keys.PICTURES[picture.kind][0]
        name = names.of_picture(row, picture.key, end, with_model=with_model)
        return files.one(name, lambda: picture.read(self._storage, job_id))

    def _original(self, row: Row) -> Wanted:
        name = names.of_original(row)
        return files.one(
            name, lambda: originals.read(row, self._storage, self._clouds, self._most_bytes)
        )


def _plain(result: Result | Row) -> Row:
    if isinstance(result, dict):
        return result
    return {name: getattr(result, name) for name in Result.__struct_fields__}


def _drawing(given: Drawing | DrawingOptions | None) -> Drawing:
    """Return how to draw; raise `InvalidRequest` for a wrong value and what would do nothing."""
    made = given if isinstance(given, Drawing) else Drawing(**(given or {}))
    how = decode(encode(made), Drawing)
    own = {name: getattr(how, name) for name in unused.OF_DRAWINGS}
    if isinstance(given, Drawing):  # which tells nobody what was said
        said = {name: own[name] for name in own if own[name] != getattr(DEFAULT_DRAWING, name)}
    else:
        said = {name: own[name] for name in own if name in (given or {}) and own[name] is not None}
    unused.refuse(unused.of_pictures(said, [how.picture], unused.OF_DRAWINGS))
    return how


def _kinds(given: str | Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    for kind in found:
        if kind not in KINDS:
            raise InvalidRequest(f"kinds is some of {', '.join(KINDS)}, not {kind!r}")
    if not found:
        raise InvalidRequest(f"kinds is empty: say some of {', '.join(KINDS)}")
    return found


def _refuse_unwritten(query: Query, kinds: tuple[Any, ...]) -> None:
    """Raise `InvalidRequest` where the job wasn't asked for a kind of pictures."""
    record = query.record
    for kind in kinds:
        if kind not in (*record.outputs.pictures, ORIGINAL):
            there = ", ".join(record.outputs.pictures) or "none"
            raise InvalidRequest(
                f"job {record.job_id} wrote no {kind} (its pictures: {there}); camfleet render "
                f"{record.job_id} draws overlays and heatmaps from its maps"
            )
