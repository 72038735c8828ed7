"""The documents as tests see them: blocks of code, tables, headings, links, and code in prose."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "SECURITY.md"  # which the hosts of repositories show by themselves
PAGES = [
    *(ROOT / "README.md", SECURITY, ROOT / "benchmarks" / "README.md"),
    *sorted(ROOT.glob("docs/*.md")),
]

_FENCE = re.compile(r"^ *```(\w*)$")
_HEADING = re.compile(r"^#+ (.*)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the number of its first line in the page."""

    language: str
    text: str
    line: int


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [block for block in _pieces(page) if isinstance(block, Block)]


def prose(page: Path) -> list[str]:
    """Return the lines of a page that stand in no block."""
    return [line for line in _pieces(page) if isinstance(line, str)]


def headings(page: Path) -> list[str]:
    return [found[1] for line in prose(page) if (found := _HEADING.match(line))]


def anchors(page: Path) -> set[str]:
    """Return what links may name behind `#`, as GitHub makes it of the headings."""
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings(page)}


def links(page: Path) -> list[str]:
    return _LINK.findall("\n".join(prose(page)))


def code(page: Path) -> list[str]:
    """Return what stands in backticks in prose."""
    return _CODE.findall(re.sub(r"(?<![\n|])\n(?![\n|])", " ", "\n".join(prose(page))))


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return the rows of the tables below each heading, with the header, without the rule."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in prose(page):
        if match := _HEADING.match(line):
            heading = match[1]
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                found.setdefault(heading, []).append(cells)
    return found


def bare(cell: str) -> str:
    """Return the only code of a cell."""
    (text,) = _CODE.findall(cell)
    return str(text)


def _pieces(page: Path) -> Iterator[str | Block]:
    language: str | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence and language is None:
            language, inside = fence[1], []
        elif fence:
            yield Block(str(language), "\n".join(inside) + "\n", number - len(inside))
            language = None
        elif language is None:
            yield line
        else:
            inside.append(line)
