"""Signatures of what workers share in the bucket: HMAC-SHA256 by the operator's keys."""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Self

from camfleet.settings import Settings

_PURPOSE = b"camfleet converted model\n"  # a key that also signs something else can't be misused


@dataclass(frozen=True)
class Signer:
    """Signs with the first of the keys, and knows the signatures of all; without keys of none."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(tuple(key.encode() for key in settings.signing_keys))

    def sign(self, data: bytes) -> str:
        """Return the signature of `data`; "" without a key."""
        return _signature(self.keys[0], data) if self.keys else ""

    def accepts(self, data: bytes, signature: str) -> bool:
        """Return whether one of the keys has signed `data`; True without keys."""
        found = [
            hmac.compare_digest(_signature(key, data).encode(), signature.encode())
            for key in self.keys
        ]
        return any(found) or not self.keys


def _signature(key: bytes, data: bytes) -> str:
    return hmac.new(key, _PURPOSE + data, hashlib.sha256).hexdigest()
