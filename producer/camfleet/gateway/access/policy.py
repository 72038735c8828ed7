"""Which images and sources a caller may name: they are read with rights that callers lack."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from camfleet.contract.outputs import LONGEST
from camfleet.errors import InvalidRequest, SourceForbidden
from camfleet.jobstore.keys import INTERNAL
from camfleet.jobstore.s3_roots import CloudRoots, S3Roots, plain_key
from camfleet.storage.place import split_uri

_SCHEMES = ("s3://", "http://", "https://")
_UPLOAD = re.compile(r"uploads/[0-9a-f]{64}(\.[a-z0-9]{1,8})?")
_OTHERS = ("maps/", "uploads/")  # what lies there may be anybody's


class SourcePolicy:
    """Own bucket and CAMFLEET_S3_ROOTS are open, but what camfleet and other callers wrote.

    Of `uploads/` a caller may name single objects, whose names only those know who have the
    content. Of other `clouds` what their roots open. Local files are closed to all.
    """

    def __init__(
        self,
        own: str,
        roots: Iterable[str],
        clouds: Mapping[str, CloudRoots] = MappingProxyType({}),
    ) -> None:
        self._own = own
        self._roots = S3Roots(own, roots)
        self._clouds = clouds

    def check_image(self, uri: str) -> None:
        """Raise `SourceForbidden`, or `InvalidRequest` for what is no URI."""
        if not 0 < len(uri) <= LONGEST:
            raise InvalidRequest(f"a URI has {len(uri)} characters, not 1 to {LONGEST}")
        cloud = self._clouds.get(uri.partition("://")[0])
        if cloud:
            if error := cloud.error(uri):
                raise error
            return
        if not uri.startswith(_SCHEMES):
            raise SourceForbidden(
                f"{uri[:200]!r} begins with none of {', '.join(_SCHEMES)}: local files can't be "
                "named over HTTP; upload it (POST /v1/uploads)"
            )
        if not uri.startswith("s3://"):
            return
        if error := self._roots.error(uri):
            raise error
        bucket, key = split_uri(uri)
        others = bucket == self._own and plain_key(key).startswith(_OTHERS)
        if others and not _UPLOAD.fullmatch(key):
            raise SourceForbidden(f"{uri[:200]!r} may be somebody else's")

    def check_source(self, uri: str) -> None:
        """Raise as `check_image` does, for an image, a manifest or `s3://bucket/prefix/`."""
        self.check_image(uri)
        bucket, key = split_uri(uri) if uri.startswith("s3://") else ("", "-")
        if bucket == self._own and not plain_key(key):
            closed = ", ".join((*INTERNAL, *_OTHERS))
            raise SourceForbidden(
                f"{uri!r} holds what belongs to camfleet and to others ({closed}): name a folder"
            )
