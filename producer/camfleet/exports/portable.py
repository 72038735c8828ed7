"""Names of files that other systems can't hold, or take for one another's."""

import re
import unicodedata

_DEVICES = r"con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$"
_NOT_WINDOWS = re.compile(
    rf"(?:^|/)(?:{_DEVICES})\s*(?:[./]|$)|[<>:\"|?*\\\x00-\x1f]|[. ](?:/|$)", re.IGNORECASE
)


class OtherSystems:
    """Finds what Windows or macOS would make of an archive's names, 100 bytes of memory a name."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def trouble(self, name: str) -> str | None:
        """Return what is wrong with the next relative name, None where nothing is."""
        known = len(self._seen)
        self._seen.add(hash(_as_they_see_it(name)))
        if len(self._seen) == known:
            return "for Windows and macOS the same name as another one"
        return "no name for Windows" if _NOT_WINDOWS.search(name) else None


def _as_they_see_it(name: str) -> str:
    """Return a name without what tells capitals from small letters, or ways to write an accent."""
    plain = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", plain)
