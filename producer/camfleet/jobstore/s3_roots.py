"""Which objects workers may read as images, and where they may write reports.

Whoever names an image names an object, which a worker reads with rights that the sender of the
message may not have. Open are the pictures and uploads of the settings' bucket, what else lies
there beside camfleet's own records, and the buckets and prefixes in CAMFLEET_S3_ROOTS. Of other
clouds' stores what CAMFLEET_AZ_ROOTS and CAMFLEET_GS_ROOTS name is open, and nothing else.

Likewise a job says where its report is to lie: in the job's own folder, or below a place in
CAMFLEET_REPORT_ROOTS.
"""

import re
from collections.abc import Iterable, Mapping

from camfleet.errors import CallerError, InvalidRequest, SourceForbidden
from camfleet.jobstore import keys
from camfleet.settings import Settings
from camfleet.storage.clouds import CLOUDS
from camfleet.storage.place import split_uri

ANY = "*"  # in the place of a root: every other bucket
# A server or a proxy may take such parts for folders, and leave the prefix or the bucket.
_DOTS = re.compile(r"(?:^|[/\\])(?:\.|%2e){1,2}(?:[/\\]|$)", re.IGNORECASE)
_SLASHES = re.compile(r"[/\\]+")


def plain_key(key: str) -> str:
    r"""Return a key as stores that keep folders take it: SeaweedFS reads `//a\b` as `a/b`."""
    return _SLASHES.sub("/", key).lstrip("/")


class S3Roots:
    """What is open: `roots` are `bucket`, `bucket/prefix` or `*`, `own` is the settings' bucket."""

    def __init__(self, own: str, roots: Iterable[str]) -> None:
        self._own = own
        self._roots = tuple(f"{root.rstrip('/')}/" for root in roots if root != ANY)
        self._any = ANY in roots

    def __str__(self) -> str:
        return ", ".join([self._own, *self._roots, *([ANY] if self._any else [])])

    def error(self, uri: str) -> CallerError | None:
        """Return why the object at `uri` may not be read, or None.

        Buckets and keys are taken as they stand: a bucket of another spelling is another bucket.
        Raises `InvalidRequest` for what isn't an `s3://` URI.
        """
        bucket, key = split_uri(uri)
        if _DOTS.search(key):
            return SourceForbidden(f"{uri!r} has a part `.` or `..`: name the object itself")
        place = f"{bucket}/{key}"
        if place.startswith(self._roots):
            return None
        if bucket == self._own:
            return _internal(uri) if plain_key(key).startswith(keys.INTERNAL) else None
        if self._any:
            return None
        return SourceForbidden(
            f"{uri!r} is in no bucket that workers read images from ({self}): add {bucket} to "
            f"their CAMFLEET_S3_ROOTS, or copy the images to s3://{self._own}/"
        )


class CloudRoots:
    """What is open of another cloud's store, by the setting `variable`; nothing by default."""

    def __init__(self, scheme: str, variable: str, roots: Iterable[str]) -> None:
        self._scheme = scheme
        self._variable = variable
        self._roots = tuple(f"{root.rstrip('/')}/" for root in roots if root != ANY)
        self._any = ANY in roots

    @staticmethod
    def of(settings: Settings) -> "dict[str, CloudRoots]":
        """Return what is open, by the schemes of URIs."""
        return CloudRoots.among(cloud_roots(settings))

    @staticmethod
    def among(roots: Mapping[str, Iterable[str]]) -> "dict[str, CloudRoots]":
        """Return what these roots open, by the schemes of URIs."""
        return {
            scheme: CloudRoots(scheme, f"CAMFLEET_{scheme.upper()}_ROOTS", roots.get(scheme, ()))
            for scheme in CLOUDS
        }

    def error(self, uri: str) -> CallerError | None:
        """Return why the object at `uri` may not be read, or None.

        Raises `InvalidRequest` for what isn't a URI of this scheme.
        """
        bucket, key = split_uri(uri, self._scheme)
        if _DOTS.search(key):
            return SourceForbidden(f"{uri!r} has a part `.` or `..`: name the object itself")
        if self._any or f"{bucket}/{key}".startswith(self._roots):
            return None
        known = ", ".join(self._roots) or "none"
        return SourceForbidden(
            f"{uri!r} is in nothing that workers read {self._scheme}:// images from ({known}): "
            f"add {bucket} to their {self._variable}"
        )


def cloud_roots(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return what the settings open of other clouds' stores, by the schemes of URIs."""
    return {"az": settings.az_roots, "gs": settings.gs_roots}


class ReportRoots:
    """Where workers may write reports: `roots` are `bucket` or `bucket/prefix`."""

    def __init__(self, own: str, roots: Iterable[str]) -> None:
        self._own = own
        self._roots = tuple(f"{root.rstrip('/')}/" for root in roots)

    def error(self, place: str) -> CallerError | None:
        """Return why no report may be written below `place`, `s3://bucket/prefix`, or None.

        Raises `InvalidRequest` for what isn't an `s3://` URI.
        """
        bucket, key = split_uri(place.rstrip("/"))
        if _DOTS.search(key):
            return InvalidRequest(f"{place!r} has a part `.` or `..`: name the place itself")
        if bucket == self._own and f"{plain_key(key)}/".startswith(keys.RESERVED):
            return InvalidRequest(
                f"{place!r} is among camfleet's own records: give another prefix, or none and the "
                "report lies in the job's own folder"
            )
        if f"{'/'.join(filter(None, (bucket, key)))}/".startswith(self._roots):
            return None
        return InvalidRequest(
            f"{place!r} is in no place that workers write reports to "
            f"({', '.join(self._roots) or 'the jobs own folders only'}): add {bucket} or a prefix "
            "of it to their CAMFLEET_REPORT_ROOTS, or let it lie in the job's own folder"
        )


def _internal(uri: str) -> SourceForbidden:
    return SourceForbidden(
        f"{uri!r} is one of camfleet's own records, no image: workers read images from other "
        f"prefixes of this bucket than {', '.join(keys.INTERNAL)}"
    )
