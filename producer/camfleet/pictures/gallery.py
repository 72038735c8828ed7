"""Pages that show jobs' overlays beside the photographs; all they need lies in their folder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice

from camfleet.audit import photographs
from camfleet.audit.pictures import render
from camfleet.contract.messages import Thumbnail
from camfleet.contract.outputs import Drawing
from camfleet.jobstore import stored_pictures
from camfleet.pictures import files, names
from camfleet.pictures.drawings import Draughtsman, has_map, name_of
from camfleet.pictures.files import Folder, OnStep, Saved, Wanted
from camfleet.pictures.listed import Listed
from camfleet.pictures.questions import Questions
from camfleet.pictures.rows import Query, Row, Rows
from camfleet.storage.storage import Storage

COLUMNS = (
    *("model_version", "method", "probability", "error_code", "error_message", "geometry"),
    *("grid_width", "overlay_uri", "pack", "label"),
)
INDEX = "index.html"
_SIDE = 640  # pixels of a photograph
_HOME = "pictures"  # the folder beside the pages
_GRADIENTS = {  # of the legend: some of each colour map's colours, from no heat to most
    "viridis": "#440154, #482878, #3e4989, #31688e, #1f9e89, #35b779, #6ece58, #b5de2b, #fde725",
    "inferno": "#000004, #1b0c41, #4a0c6b, #781c6d, #a52c60, #cf4446, #ed6925, #fb9b06, #fcffa4",
    "turbo": "#30123b, #4675ed, #1bcfd4, #61fc6c, #d1e834, #fe9b2d, #d93806, #7a0403",
    "jet": "#000080, #0000ff, #0080ff, #00ffff, #80ff80, #ffff00, #ff8000, #ff0000, #800000",
}


@dataclass
class Shown:
    """One row as a page shows it; its overlay is a path below the page, or None."""

    row: Row
    overlay: str | None = None


@dataclass
class Card:
    """An image with one model: its photograph, or why there's none, and its rows."""

    job_id: str
    shown: list[Shown]
    photo: str | None = None
    reason: str = ""

    @property
    def row(self) -> Row:
        return self.shown[0].row


@dataclass
class Counts:
    """What the first page says of all of them."""

    by_model: str = ""  # behind "images", where each counts once with each model
    cards: int = 0
    models: set[str] = field(default_factory=set)
    explanations: int = 0
    no_evidence: int = 0
    failed: int = 0

    def add(self, card: Card) -> None:
        self.cards += 1
        self.models.add(f"{card.row['model_id']}@{card.row['model_version']}")
        self.explanations += len(card.shown)
        self.no_evidence += sum(one.row["status"] == "no_evidence" for one in card.shown)
        self.failed += sum(one.row["status"] == "failed" for one in card.shown)

    @property
    def pairs(self) -> list[tuple[str, int]]:
        return [
            (("image" if self.cards == 1 else "images") + self.by_model, self.cards),
            ("model" if len(self.models) == 1 else "models", len(self.models)),
            ("explanation" if self.explanations == 1 else "explanations", self.explanations),
            ("without evidence", self.no_evidence),
            ("failed", self.failed),
        ]


class Gallery:
    """Writes one gallery into a folder, page by page, with the memory of a page."""

    def __init__(
        self,
        storage: Storage,
        questions: Questions,
        timeout: float,
        folder: Folder,
        on_picture: OnStep,
    ) -> None:
        self._storage = storage
        self._questions = questions
        self._timeout = timeout
        self._folder = folder
        self._on_picture = on_picture
        self._listed = Listed(folder.path)

    def write(self, queries: list[Query], page_size: int, on_part: OnStep) -> Saved:
        """Write the pages; the first one, which counts and leads to all others, comes last."""
        several = any(len(query.selection.models) > 1 for query in queries)
        counts = Counts(" × models" if several else "")  # noqa: RUF001  # a sign of times
        colormaps = {query.record.outputs.colormap for query in queries}
        gradient = _GRADIENTS[colormaps.pop()] if len(colormaps) == 1 else None
        cards = (card for query in queries for card in self._cards(query, on_part))
        first = self._load(islice(cards, page_size), counts)
        number, following = 1, self._load(islice(cards, page_size), counts)
        while following:
            number, page = number + 1, following
            following = self._load(islice(cards, page_size), counts)
            self._put(page, number, is_last=not following, gradient=gradient)
        self._put(first, 1, is_last=number == 1, gradient=gradient, pages=number, counts=counts)
        self._listed.tidy()
        saved = self._folder.saved
        saved.page = str(self._folder.path / INDEX)
        return saved

    def _cards(self, query: Query, on_part: OnStep) -> Iterator[tuple[Card, list[Wanted]]]:
        """Yield the cards of a job, each with the overlays to fetch for it."""
        outputs = query.record.outputs
        drawing = Drawing(colormap=outputs.colormap, opacity=outputs.opacity)
        ask = partial(self._questions.render, timeout=self._timeout)
        worker = Draughtsman(self._storage, ask, drawing)
        for part in query.read(self._storage, self._folder.saved, on_part):
            for _, rows in groupby(part.rows, lambda pair: pair[1]["image_uri"]):
                yield self._card(part, list(rows), worker, drawing)

    def _card(
        self, part: Rows, rows: list[tuple[int, Row]], worker: Draughtsman, drawing: Drawing
    ) -> tuple[Card, list[Wanted]]:
        card = Card(part.ref.job_id, [])
        wanted, undrawn = list[Wanted](), list[tuple[int, Row]]()
        for number, row in rows:
            shown = Shown(row)
            card.shown.append(shown)
            if overlay := stored_pictures.find(row, "overlay"):
                name = names.of_picture(row, overlay.key, ".jpg", with_model=True)
                shown.overlay = f"{_HOME}/{name}"
                read = partial(overlay.read, self._storage, part.ref.job_id)
                wanted.append(files.one(shown.overlay, read))
            elif has_map(row):
                shown.overlay = f"{_HOME}/{name_of(row, drawing, with_model=True)}"
                undrawn.append((number, row))
        drawn = worker.wanted(Rows(part.ref, part.digest, tuple(undrawn)), with_model=True)
        return card, [*wanted, *(one.below(_HOME) for one in drawn)]

    def _load(self, cards: Iterable[tuple[Card, list[Wanted]]], counts: Counts) -> list[Card]:
        """Fetch what a page shows; return its cards."""
        found, wanted = list[Card](), list[Wanted]()
        for card, overlays in cards:
            found.append(card)
            wanted += overlays
            counts.add(card)
        self._folder.save(wanted, self._on_picture)
        self._photograph(found)
        for card in found:
            for shown in card.shown:
                if shown.overlay and not self._folder.has(shown.overlay):
                    shown.overlay = None
        return found

    def _photograph(self, cards: list[Card]) -> None:
        """Give each card its photograph: a small one, made by a worker unless it's there."""
        for job_id, own in groupby(cards, lambda card: card.job_id):
            missing: dict[Thumbnail, list[Card]] = {}
            for card in own:
                card.photo = f"{_HOME}/{names.of_photograph(card.row)}"
                if card.row["status"] == "failed":
                    card.photo, card.reason = None, "no photograph"
                elif not self._folder.has(card.photo):
                    missing.setdefault(_thumbnail(card.row), []).append(card)
            ask = partial(self._questions.thumbnails, timeout=self._timeout)
            found = photographs.load(job_id, missing, self._storage, ask, side=_SIDE)
            for picture, data in found.items():
                self._keep(missing[picture], data)

    def _keep(self, cards: list[Card], data: bytes | str) -> None:
        """Write a photograph that was made, or say why there's none."""
        for card in cards:
            assert card.photo is not None  # it's what was missing
            if isinstance(data, bytes):
                self._folder.write(card.photo, data)
                continue
            self._folder.saved.fail(card.photo, f"{card.row['image_uri']}: {data}")
            card.photo, card.reason = None, data

    def _put(
        self,
        cards: list[Card],
        number: int,
        *,
        is_last: bool,
        gradient: str | None,
        pages: int = 0,
        counts: Counts | None = None,
    ) -> None:
        overlays = [one.overlay for card in cards for one in card.shown]
        written = [page_name(number), *overlays, *(card.photo for card in cards)]
        self._listed.add(name for name in written if name)
        html = render(
            "gallery.html",
            style="gallery.css",
            cards=cards,
            number=number,
            pages=pages,
            before=page_name(number - 1) if number > 1 else None,
            after=None if is_last else page_name(number + 1),
            gradient=gradient,
            counts=counts.pairs if counts else [],
            page_name=page_name,
        )
        self._folder.write(page_name(number), html.encode())


def page_name(number: int) -> str:
    """Return the name of a page's file."""
    return INDEX if number == 1 else f"page-{number}.html"


def _thumbnail(row: Row) -> Thumbnail:
    return Thumbnail(image_uri=row["image_uri"], image_etag=row["image_etag"])
