"""Tokens of the gateway: what the bucket keeps of each."""

from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta

from camfleet.contract.codec import Document, Wire
from camfleet.contract.records import DIGEST

Scope: TypeAlias = Literal["explain", "jobs:read", "jobs:write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
TOKEN_ID = r"^[0-9a-f]{16}\Z"  # noqa: S105  # a pattern
OWNER = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z"


_Limit = Annotated[int, Meta(ge=1, lt=2**53)] | None


class Limits(Wire, frozen=True, kw_only=True):
    """What a token may have in work at a time, or upload; None: as the gateway's settings say."""

    requests: _Limit = None  # images that are explained or uploaded
    jobs: _Limit = None  # that haven't ended
    images: _Limit = None  # of these jobs, times models, that aren't explained
    bytes: _Limit = None  # of uploads within 24 hours

    def within(self, usual: "Limits") -> "Limits":
        """Return these limits with the usual ones for those that are None."""
        return Limits(
            requests=self.requests or usual.requests,
            jobs=self.jobs or usual.jobs,
            images=self.images or usual.images,
            bytes=self.bytes or usual.bytes,
        )


class TokenRecord(Document, frozen=True, kw_only=True):
    """`tokens/<id>.json`: whose a token is, and what it opens. The secret itself is nowhere.

    Times are seconds since the epoch. `admin` opens everything, also the jobs of others.
    """

    id: Annotated[str, Meta(pattern=TOKEN_ID)]
    digest: Annotated[str, Meta(pattern=DIGEST)]  # SHA-256 of the secret, which is random
    owner: Annotated[str, Meta(pattern=OWNER)]
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    limits: Limits = Limits()

    def is_valid(self, now: float) -> bool:
        """Return whether it opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def opens(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes
