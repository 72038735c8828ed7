"""Kinds of images that camfleet knows by name but doesn't read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UnreadableKind:
    """The suffixes of a kind's files."""

    suffixes: tuple[str, ...]


UNREADABLE = {
    "HEIC": UnreadableKind((".heic", ".heif", ".hif")),
    "JPEG 2000": UnreadableKind((".jp2", ".j2k", ".jpf", ".jpx")),
    "JPEG XL": UnreadableKind((".jxl",)),
    "Photoshop": UnreadableKind((".psd", ".psb")),
    "camera raw": UnreadableKind((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2")),
}
