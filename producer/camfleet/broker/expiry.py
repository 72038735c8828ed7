"""What a table of keys says of each of them."""

from enum import Enum
from typing import Literal, NamedTuple


class Expiry(Enum):
    """Whether a key has a time to live."""

    ALWAYS = "from its first write on"
    AT_END = "once the job has ended"
    NEVER = "never"


class Key(NamedTuple):
    """One row of the table: `pattern` as SCAN takes it; `owner` is the module that uses the key."""

    pattern: str
    type: Literal["string", "list", "hash", "set", "zset", "stream"]
    owner: str
    expiry: Expiry
    life: str
