"""The bars of a study: results parts are read to choose rows, then workers measure these."""

from typing import Any, Self

from camfleet.cli import output


class StudyBars:
    """A bar of `parts`, and once the first of `rows` is measured, theirs, called `what`."""

    def __init__(self, parts: int, rows: int, what: str) -> None:
        self._rows, self._what = rows, what
        self._reading = output.bar(parts, "reading", "part")
        self._measuring: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in (self._reading, self._measuring):
            if bar is not None:
                bar.close()

    def on_part(self, count: int) -> None:
        self._reading.update(count)

    def on_row(self, count: int) -> None:
        if self._measuring is None:
            self._reading.close()
            self._measuring = output.bar(self._rows, self._what)
        self._measuring.update(count)
