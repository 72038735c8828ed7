"""Keys that hold another type than `keys.TABLE` says: nobody can use them, so they are deleted.

While one lies there, everything that names it fails, in every process. What it held before is lost
already: whoever wrote the other type has replaced it.
"""

import logging
from collections.abc import Callable
from typing import Any

from camfleet.broker import keys

logger = logging.getLogger(__name__)


def is_wrong_type(error: BaseException) -> bool:
    """Return whether Redis complains that a key holds another type, also in a pipeline's error."""
    return "WRONGTYPE" in str(error)


def delete_wrong_types(run: Callable[..., Any]) -> None:
    """Delete keys of a wrong type that aren't a job's own; `run` runs a command in Redis."""
    for key, kind in keys.FIXED.items():
        found = run("TYPE", key)
        text = found.decode() if isinstance(found, bytes) else found
        if text not in (kind, "none"):
            logger.error("%s in Redis is a %s instead of a %s: it's deleted", key, text, kind)
            run("DEL", key)
