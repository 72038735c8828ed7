"""Kinds of images that camfleet knows by name but doesn't read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UnreadableKind:
    """The suffixes of a kind's files, and the article that its name takes."""

    suffixes: tuple[str, ...]
    article: str = "a"


UNREADABLE = {
    "HEIC": UnreadableKind((".heic", ".heif", ".hif")),
    "JPEG 2000": UnreadableKind((".jp2", ".j2k", ".jpf", ".jpx")),
    "JPEG XL": UnreadableKind((".jxl",)),
    "Photoshop": UnreadableKind((".psd", ".psb")),
    "camera raw": UnreadableKind((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2")),
}
# A folder with such files is worth a word: they aren't read, and converting them to JPEG helps.
UNREADABLE_SUFFIXES = tuple(suffix for kind in UNREADABLE.values() for suffix in kind.suffixes)
