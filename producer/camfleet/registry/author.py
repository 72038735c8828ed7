"""Who changes something, as history keeps it."""

import getpass
import os
import socket
from typing import NamedTuple

from camfleet.contract.utf8 import readable
from camfleet.registry.changes import LONGEST_NAME


class Author(NamedTuple):
    """A user, and the machine on which they work."""

    user: str
    host: str


def author(user: str = "") -> Author:
    """Return who runs this process; `user` is the name from the settings, if any.

    Nobody proves who they are: whoever may change models may also say that they're somebody else.
    """
    return Author(_word(user or _login()), _word(socket.gethostname()))


def _word(text: str) -> str:
    return readable(text)[:LONGEST_NAME]


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container a user may have no name
        return f"uid {os.getuid()}"
