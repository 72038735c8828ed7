"""What a source holds and a job doesn't take: counted by kind, with the reason."""

import os

from camfleet.contract.records import LeftOut
from camfleet.contract.utf8 import readable

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"),
)

# Images by their suffix that camfleet doesn't read.
_UNREADABLE = {
    "HEIC": (".heic", ".heif", ".hif"),
    "camera raw": (
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".raf"),
        *(".rw2", ".rwl", ".pef", ".srw", ".raw", ".3fr", ".fff", ".iiq", ".mos", ".mrw", ".x3f"),
    ),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    "JPEG XL": (".jxl",),
    "Photoshop": (".psd", ".psb"),
    "OpenEXR": (".exr",),
    "Netpbm": (".pbm", ".pgm", ".ppm", ".pnm"),
    "Targa": (".tga",),
    "an icon": (".ico",),
}

HIDDEN = "hidden"
BROKEN_LINK = "broken link"
CIRCLE = "link in a circle"
SPECIAL = "special file"
NOT_UTF8 = "name not UTF-8"
FOLDER = "folder"
_OTHER = "other"
_NO_SUFFIX = "no suffix"

_WHY = {
    HIDDEN: "its name, or that of a folder on the way to it, begins with a dot",
    BROKEN_LINK: "the link leads nowhere, or can't be followed",
    CIRCLE: "the link leads back to a folder that holds it",
    NOT_UTF8: "its name, or that of a folder on the way to it, isn't UTF-8: rename it",
    SPECIAL: "a pipe, a socket or a device",
    FOLDER: "a glob takes files: name the folder, or write ** for all below it",
    _OTHER: "no image, by its suffix",
    _NO_SUFFIX: "no image, by its name",
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai"), "a drawing, without pixels"),
    ".pdf": "a document: export its pictures",
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "a video: export its frames"),
    ".dcm": "DICOM, which camfleet doesn't read: convert it to PNG or TIFF",
    **dict.fromkeys((".csv", ".jsonl", ".parquet"), "a manifest stands for itself: name it"),
    **{
        suffix: f"{name}, which camfleet doesn't read: convert it to JPEG"
        for name, suffixes in _UNREADABLE.items()
        for suffix in suffixes
    },
}
_WORDS = {  # of kinds that aren't called files
    BROKEN_LINK: ("broken link", "broken links"),
    CIRCLE: ("link in a circle", "links in a circle"),
    SPECIAL: ("special file", "special files"),
    FOLDER: ("folder", "folders"),
    NOT_UTF8: ("file whose name isn't UTF-8", "files whose names aren't UTF-8"),
    _NO_SUFFIX: ("file without a suffix", "files without a suffix"),
}
_KINDS = 50  # more suffixes than that are counted as one kind
_EXAMPLES = 3


class LeftOutCounter:
    """Counts the files that aren't taken, by kind, and remembers some of each."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, path: str, count: int = 1) -> None:
        """Count a file of a kind: one of the words above, or a suffix."""
        if kind not in self._files and len(self._files) >= _KINDS and kind not in _WHY:
            kind = _OTHER
        self._files[kind] = self._files.get(kind, 0) + count
        examples = self._examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(readable(path))

    def add_by_suffix(self, path: str) -> None:
        """Count a file that is no image by its name."""
        path = readable(path)
        self.add(os.path.splitext(path)[1].lower() or _NO_SUFFIX, path)  # noqa: PTH122  # it may be a URI

    def merge(self, other: "LeftOutCounter") -> None:
        for found in other.kinds():
            first, *more = found.examples
            self.add(found.kind, first, found.files)
            for path in more:
                self.add(found.kind, path, 0)

    def kinds(self) -> tuple[LeftOut, ...]:
        """Return what was counted, the largest kinds first."""
        found = [
            LeftOut(
                kind=kind,
                files=count,
                why=_WHY.get(kind, _WHY[_OTHER]),
                examples=tuple(self._examples[kind]),
            )
            for kind, count in self._files.items()
        ]
        return tuple(sorted(found, key=lambda kind: (-kind.files, kind.kind)))


def summary(kinds: tuple[LeftOut, ...]) -> str:
    """Return numbers and kinds in a few words, such as `3 .heic files, 1 hidden file`."""
    return ", ".join(map(words, kinds))


def words(kind: LeftOut) -> str:
    """Return how many files of a kind there are, such as `3 .heic files` or `1 hidden file`."""
    one, several = _WORDS.get(kind.kind, (f"{kind.kind} file", f"{kind.kind} files"))
    return f"{kind.files} {one if kind.files == 1 else several}"
