"""A dry run: all that a submit would find out, without writing or queueing anything."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from camfleet.contract.codec import Wire
from camfleet.contract.messages import ErrorInfo
from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest

SAMPLES = 20
_SHOWN = 10  # broken lines


class UnreadableImage(Wire, frozen=True, kw_only=True):
    """An image that a worker can't read, and why."""

    image_uri: str
    code: str
    message: str


class DryRun(Wire, frozen=True, kw_only=True):
    """What a submit would do. `sampled` images were read and decoded by a worker."""

    items: int
    duplicates: int
    broken: int  # lines of manifests
    broken_lines: tuple[str, ...]  # the first of them, with the reason
    images: int  # explanations: items times models
    chunks: int
    models: tuple[str, ...]
    sampled: int
    unreadable: tuple[UnreadableImage, ...]

    @property
    def passed(self) -> bool:
        return not self.broken and not self.unreadable and self.items > 0


class Counter:
    """Counts a stream of items with flat memory, and keeps a random sample of it."""

    def __init__(self) -> None:
        self.items = 0
        self.broken = 0
        self.broken_lines: list[str] = []
        self.samples: list[str] = []
        self._random = random.Random(0)  # noqa: S311  # a sample, no secret

    def note_broken(self, error: InvalidRequest) -> None:
        """Count a line that can't be used."""
        self.broken += 1
        if len(self.broken_lines) < _SHOWN:
            self.broken_lines.append(str(error))

    def count(self, stream: Iterable[Item], on_progress: Callable[[int], None]) -> None:
        """Read the stream to its end. Sampling: Vitter 1985, algorithm R."""
        for item in stream:
            self.items += 1
            if len(self.samples) < SAMPLES:
                self.samples.append(item.image_uri)
            elif (place := self._random.randrange(self.items)) < SAMPLES:
                self.samples[place] = item.image_uri
            if self.items % 1000 == 0:
                on_progress(self.items)
        on_progress(self.items)

    def report(
        self,
        *,
        models: Sequence[str],
        chunk_size: int,
        duplicates: int,
        sampled: Sequence[str],
        errors: Iterable[ErrorInfo | None],
    ) -> DryRun:
        """Return the report; `errors` has for each sampled URI why it can't be read, or None."""
        return DryRun(
            items=self.items,
            duplicates=duplicates,
            broken=self.broken,
            broken_lines=tuple(self.broken_lines),
            images=self.items * len(models),
            chunks=-(-self.items // chunk_size) * len(models),
            models=tuple(models),
            sampled=len(sampled),
            unreadable=tuple(_unreadable(sampled, errors)),
        )


def _unreadable(
    uris: Iterable[str], errors: Iterable[ErrorInfo | None]
) -> Iterator[UnreadableImage]:
    for uri, error in zip(uris, errors, strict=True):
        if error:
            yield UnreadableImage(image_uri=uri, code=error.code, message=error.message)
