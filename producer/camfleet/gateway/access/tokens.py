"""Tokens: made, listed, revoked, and recognized.

They lie in the bucket, as digests: whoever loses Redis loses no token. Every gateway reads a token
again after some seconds, so that all of them notice when it's revoked.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from camfleet.contract.codec import decode, encode, encode_json, sealed
from camfleet.contract.tokens import OWNER, Limits, Scope, TokenRecord
from camfleet.errors import InvalidRequest, ObjectMissing
from camfleet.jobstore import keys, objects
from camfleet.storage.storage import Storage

SEEN_SECONDS = 5.0  # after which a revocation is seen by every gateway
_MOST_BYTES = 2**16
_MOST_KNOWN = 10_000  # tokens, and as many ids of none: the oldest are forgotten
_TOKEN = re.compile(r"cf_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{16}")
_NOBODY = hashlib.sha256(b"").hexdigest()


class Tokens:
    """The tokens in the bucket."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def create(
        self,
        owner: str,
        scopes: Iterable[Scope],
        days: float | None,
        limits: Limits = Limits(),  # noqa: B008  # it's frozen
    ) -> tuple[str, TokenRecord]:
        """Make a token; return its text, which is kept nowhere, and what is kept.

        Raises `InvalidRequest` for an owner that isn't 1 to 64 letters, digits and `._@+-`.
        """
        if not re.fullmatch(OWNER, owner):
            raise InvalidRequest(
                f"{owner[:80]!r} can't be an owner: give 1 to 64 letters, digits and ._@+-, "
                "a letter or a digit first"
            )
        now = time.time()
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        made = TokenRecord(
            schema_version=1,
            id=token_id,
            digest=_digest(secret),
            owner=owner,
            scopes=tuple(dict.fromkeys(scopes)),
            created_at=now,
            expires_at=now + days * 86400 if days is not None else None,
            revoked_at=None,
            limits=limits,
        )
        record = sealed(decode(encode(made), TokenRecord))
        self._storage.create(keys.token(token_id), encode_json(record), "application/json")
        return f"cf_{token_id}_{secret}", record

    def list(self) -> Iterator[TokenRecord]:
        """Yield all tokens, also those that are revoked or have expired."""
        for key in self._storage.keys(keys.token()):
            yield objects.read_document(self._storage, key, TokenRecord, _MOST_BYTES)

    def revoke(self, token_id: str) -> TokenRecord:
        """Let a token open nothing any more; raise `InvalidRequest` where there's none."""
        if not _ID.fullmatch(token_id):
            raise InvalidRequest(
                f"{token_id[:80]!r} is no token's id: 16 digits 0 to f, as camfleet tokens list "
                "shows them"
            )
        record = self.find(token_id)
        if record is None:
            raise InvalidRequest(f"no token {token_id}: camfleet tokens list shows all")
        if record.revoked_at is None:
            record = replace(record, revoked_at=time.time())
            self._storage.put(keys.token(token_id), encode_json(record), "application/json")
        return record

    def find(self, token_id: str) -> TokenRecord | None:
        key = keys.token(token_id)
        try:
            record = objects.read_document(self._storage, key, TokenRecord, _MOST_BYTES)
        except ObjectMissing:
            return None
        if record.id != token_id:
            raise InvalidRequest(f"{self._storage.uri(key)} is another token's")
        return record


class TokenChecker:
    """Recognizes tokens; what the bucket says of one is believed for `SEEN_SECONDS`."""

    def __init__(self, tokens: Tokens, seconds: float = SEEN_SECONDS) -> None:
        self._tokens = tokens
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, TokenRecord]] = {}
        self._unknown: dict[str, float] = {}  # ids, and until when they're believed to be none

    def is_one(self, text: str) -> bool:
        """Return whether a text has the form of a token."""
        return _TOKEN.fullmatch(text) is not None

    def has_met(self, text: str) -> bool:
        """Return whether a token was recognized here before, whatever has become of it."""
        found = _TOKEN.fullmatch(text)
        if not found:
            return False
        with self._lock:
            _, record = self._known.get(found["id"], (0.0, None))
        return record is not None and hmac.compare_digest(record.digest, _digest(found["secret"]))

    def check(self, text: str) -> TokenRecord | None:
        """Return the token that `text` is, None for one that opens nothing.

        Raises `StorageUnavailable` where it can't be told.
        """
        found = _TOKEN.fullmatch(text)
        return _opened(self._look_up(found["id"]), found["secret"]) if found else None

    def recall(self, text: str) -> TokenRecord | None:
        """Return what `check` does, without waiting; None also for a token to be looked up."""
        found = _TOKEN.fullmatch(text)
        if not found:
            return None
        with self._lock:
            until, record = self._known.get(found["id"], (0.0, None))
        return _opened(record, found["secret"]) if time.monotonic() < until else None

    def by_id(self, token_id: str) -> TokenRecord | None:
        """Return the token of an id that its owner has shown to know, None unless it's valid."""
        record = self._look_up(token_id)
        return record if record and record.is_valid(time.time()) else None

    def is_valid(self, record: TokenRecord) -> bool:
        """Return whether a token that was recognized is one still."""
        now = self._look_up(record.id)
        return now is not None and now.digest == record.digest and now.is_valid(time.time())

    def _look_up(self, token_id: str) -> TokenRecord | None:
        now = time.monotonic()
        with self._lock:
            until, record = self._known.get(token_id, (self._unknown.get(token_id, 0.0), None))
        if now < until:
            return record
        record = self._tokens.find(token_id)
        until = now + self._seconds
        with self._lock:
            self._known.pop(token_id, None)
            self._unknown.pop(token_id, None)
            if record is None:
                self._unknown[token_id] = until
            else:
                self._known[token_id] = until, record
            for kept in (self._known, self._unknown):
                if len(kept) > _MOST_KNOWN:
                    del kept[next(iter(kept))]
        return record


def _opened(record: TokenRecord | None, secret: str) -> TokenRecord | None:
    """Return a record that this is the secret of, and that is valid; None else, in as much time."""
    same = hmac.compare_digest(record.digest if record else _NOBODY, _digest(secret))
    return record if record and same and record.is_valid(time.time()) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
