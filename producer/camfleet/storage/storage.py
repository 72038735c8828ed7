"""Object storage: a few verbs over obstore and boto3, whose exceptions stop here."""

import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

from camfleet.errors import (
    AccessDenied,
    InvalidRequest,
    ObjectChanged,
    ObjectDamaged,
    ObjectMissing,
    OperationUnsupported,
    StorageUnavailable,
)
from camfleet.settings import Settings
from camfleet.storage.backend import Backend
from camfleet.storage.boto import BotoBackend, host
from camfleet.storage.errors import NotHandled, boto_errors
from camfleet.storage.obstore import ObstoreBackend
from camfleet.storage.place import ABSENT, LONGEST_URL, Listed, Place, StoredObject, split_uri

__all__ = ["Listed", "Storage", "StoredObject", "split_uri"]

PROOFS = "uploads/setup-proof-"  # a prefix that credentials for camfleet alone open, too
PROOF_KIND = "application/octet-stream"

T = TypeVar("T")
Write: TypeAlias = Callable[[str, bytes, str | None], None]  # of a key, on a condition

logger = logging.getLogger(__name__)


class Storage:
    """The bucket of the settings, and any other bucket by full URI. Safe to share by threads.

    Every verb raises `StorageUnavailable` when the store is unavailable or throttles, when an
    answer doesn't begin or continue within `seconds` or come to its end within `longest`, when our
    bucket is missing or refuses our credentials, and when nobody gives us any; `AccessDenied` when
    another bucket refuses them; `InvalidRequest` for impossible names.
    """

    def __init__(self, settings: Settings, *, seconds: float = 15, longest: float = 300) -> None:
        self.bucket = settings.bucket
        self._region = settings.s3_region
        self._host = host(settings.s3_endpoint)
        self._boto = BotoBackend(settings, seconds, longest)
        self._obstore = ObstoreBackend(settings, self._boto, seconds, longest)
        self._conditions = True

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def get(self, key_or_uri: str, *, limit: int | None = None) -> StoredObject:
        """Return an object's bytes; raise `ObjectMissing` or, before reading, `ObjectTooLarge`."""
        place = self._place(key_or_uri)
        return self._do(place, lambda backend: backend.get(place, limit))

    def get_range(self, key_or_uri: str, start: int, length: int, etag: str | None = None) -> bytes:
        """Return `length` bytes of an object from `start`, with one request.

        Raises `ObjectMissing`, `ObjectDamaged` where the object hasn't so many there, and
        `ObjectChanged` where it no longer has the ETag that's given.
        """
        place = self._place(key_or_uri)
        found = self._do(place, lambda backend: backend.get_range(place, start, length, etag))
        if len(found) != length:
            raise ObjectDamaged(f"{place} has no {length} bytes from byte {start}")
        return found

    def put(self, key_or_uri: str, data: bytes, content_type: str) -> str:
        """Write an object, by key into the settings' bucket, replacing any; return its URI."""
        return self._put(key_or_uri, data, content_type, None)

    def create(self, key: str, data: bytes, content_type: str) -> str:
        """Write as `put` does, but raise `ObjectChanged` if there's an object already.

        Of several writers exactly one succeeds. Whoever retries after `StorageUnavailable` may
        find an object of their own. A store without conditional writes is written to
        unconditionally, with one warning in the log; `replace` likewise.
        """
        return self._put_if(key, data, content_type, ABSENT)

    def replace(self, key: str, data: bytes, content_type: str, *, etag: str) -> str:
        """Write as `put` does, but raise `ObjectChanged` unless the object still has this ETag."""
        try:
            return self._put_if(key, data, content_type, etag)
        except ObjectMissing as error:
            raise ObjectChanged(f"{self.uri(key)} was to be replaced and is gone") from error

    def upload(self, key: str, path: str, content_type: str | None = None) -> str:
        """Stream a file of any size to `key`; return its URI."""
        extra = {"ContentType": content_type} if content_type else None
        with boto_errors(self._mine(key)):
            self._client.upload_file(path, self.bucket, key, ExtraArgs=extra)
        return self.uri(key)

    def download(self, key_or_uri: str, path: str, *, limit: int | None = None) -> None:
        """Stream an object into a file; raise `ObjectMissing` or, before more, `ObjectTooLarge`."""
        place = self._place(key_or_uri)
        try:
            with boto_errors(place):
                self._boto.download(place, path, limit)
        except ObjectMissing:
            self.exists(key_or_uri)  # raises if our bucket is missing: boto3's HEAD can't tell
            raise

    def exists(self, key_or_uri: str) -> bool:
        place = self._place(key_or_uri)
        try:
            self._do(place, lambda backend: backend.check(place))
        except ObjectMissing:
            return False
        return True

    def has_bucket(self, uri: str) -> bool:
        """Return whether the bucket of an `s3://` URI is there; True where nobody may ask.

        Some stores make a bucket when something is written to it.
        """
        place = replace(self._place(uri), own=False)  # whose errors tell these apart
        try:
            with boto_errors(place):
                self._client.head_bucket(Bucket=place.bucket)
        except ObjectMissing:
            return False
        except AccessDenied:
            return True
        return True

    def presign(self, key_or_uri: str, seconds: int, *, content_type: str | None = None) -> str:
        """Return an https URL that reads an object of our bucket without credentials for a while.

        With a `content_type` the store calls it that, whatever was said when it was written. Nobody
        asks whether the object is there. Raises `InvalidRequest` for other buckets, and for a time
        that isn't 1 second to 7 days.
        """
        if not 1 <= seconds <= LONGEST_URL:
            raise InvalidRequest(
                f"a URL is valid for 1 to {LONGEST_URL} seconds (7 days), not {seconds}"
            )
        place = self._place(key_or_uri)
        if not (place.own and place.key):
            raise InvalidRequest(
                f"{key_or_uri} is no object of {self.uri('')}: only those have presigned URLs"
            )
        return self._boto.presign(place, seconds, content_type)

    def presign_put(self, key: str, seconds: int, content_type: str, nbytes: int) -> str:
        """Return a URL that writes a new object of our bucket without credentials for a while.

        It must be sent with these as Content-Type and Content-Length, and with If-None-Match: *.
        """
        return self._boto.presign_put(self._mine(key), seconds, content_type, nbytes)

    def keys(self, key_or_uri: str) -> Iterator[str]:
        """Yield the keys below a prefix, in order, a page at a time."""
        for page in self._pages(key_or_uri):
            for found in page.get("Contents", ()):
                yield found["Key"]

    def objects(self, key_or_uri: str, *, after: str = "") -> Iterator[Listed]:
        """Yield the objects below a prefix with sizes and times, in order, a page at a time.

        Those come whose key is greater than `after`; a page has 1,000 of them.
        """
        for page in self._pages(key_or_uri, **({"StartAfter": after} if after else {})):
            for found in page.get("Contents", ()):
                modified = found["LastModified"].timestamp()
                yield Listed(found["Key"], int(found["Size"]), modified)

    def folders(self, key_or_uri: str) -> Iterator[str]:
        """Yield the prefixes, up to the next `/`, that a prefix ending in `/` branches into."""
        for page in self._pages(key_or_uri, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield found["Prefix"]

    def delete(self, doomed: list[str]) -> None:
        """Delete objects, whether or not they're there; raise `StorageUnavailable` if one stays."""
        for start in range(0, len(doomed), 1000):
            batch = [{"Key": key} for key in doomed[start : start + 1000]]
            with boto_errors(self._mine("")):
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True}
                )
            for stayed in answer.get("Errors", ()):
                raise StorageUnavailable(
                    f"{self.uri(stayed['Key'])} wasn't deleted: the object store at {self._host} "
                    f"answers {stayed.get('Code')}: {stayed.get('Message')}"
                )

    def now(self) -> float:
        """Return the store's own time, in seconds since the epoch: by it objects are dated."""
        with boto_errors(self._mine("")):
            answer = self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(date).timestamp()
        except ValueError as error:
            raise StorageUnavailable(
                f"the object store at {self._host} doesn't say what time it is"
            ) from error

    def set_up(self) -> None:
        """Make the bucket if it's missing and prove that it can be written and read.

        Raises `StorageUnavailable`.
        """
        if not self.has_bucket(self.uri("")):
            with boto_errors(self._mine("")):
                self._make_bucket()
        key, proof = f"{PROOFS}{secrets.token_hex(8)}", secrets.token_bytes(16)
        self.put(key, proof, PROOF_KIND)
        if self.get(key).data != proof:
            raise StorageUnavailable(f"{self.uri(key)} reads back another content")
        self.delete([key])

    def writes(self) -> tuple[Write, Write]:
        """Return what writes on a condition: as `create` and `replace` do, and by boto3 alone."""

        def write(key: str, data: bytes, etag: str | None) -> None:
            place = self._mine(key)
            self._do(place, lambda backend: backend.put(place, data, PROOF_KIND, etag))

        def write_by_boto(key: str, data: bytes, etag: str | None) -> None:
            self._boto.put(self._mine(key), data, PROOF_KIND, etag)

        return write, write_by_boto

    def pages(self, prefix: str, size: int) -> Iterator[list[str]]:
        """Yield the keys below a prefix, `size` of them a page."""
        for page in self._pages(prefix, PaginationConfig={"PageSize": size}):
            yield [found["Key"] for found in page.get("Contents", ())]

    def close(self) -> None:
        self._obstore.close()
        self._boto.close()

    def _make_bucket(self) -> None:
        """Make it in our region; Amazon wants to be told so, others refuse that."""
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "IllegalLocationConstraintException":
                raise
            self._client.create_bucket(
                Bucket=self.bucket,
                CreateBucketConfiguration={"LocationConstraint": self._region},
            )

    @property
    def _client(self) -> Any:
        return self._boto.client()

    def _pages(self, key_or_uri: str, **how: Any) -> Iterator[dict[str, Any]]:
        """Yield the answers to a listing."""
        place = self._place(key_or_uri)
        with boto_errors(place):
            pages = self._client.get_paginator("list_objects_v2")
            answers = iter(pages.paginate(Bucket=place.bucket, Prefix=place.key, **how))
        while True:
            with boto_errors(place):  # not around the yield: the caller's errors are its own
                page = next(answers, None)
            if page is None:
                return
            yield page

    def _mine(self, key: str) -> Place:
        return Place(self._host, self.bucket, key, own=True)

    def _place(self, key_or_uri: str) -> Place:
        if "://" not in key_or_uri:
            return self._mine(key_or_uri)
        bucket, key = split_uri(key_or_uri)
        return Place(self._host, bucket, key, own=bucket == self.bucket)

    def _do(self, place: Place, work: Callable[[Backend], T]) -> T:
        """Do something with one object through obstore; fall back to boto3 where it can't."""
        try:
            return work(self._obstore)
        except NotHandled as reason:
            if reason.always:
                self._obstore.leave(place.bucket)
        return work(self._boto)

    def _put(self, key_or_uri: str, data: bytes, content_type: str, etag: str | None) -> str:
        place = self._place(key_or_uri)
        self._do(place, lambda backend: backend.put(place, data, content_type, etag))
        return str(place)

    def _put_if(self, key: str, data: bytes, content_type: str, etag: str) -> str:
        try:
            return self._put(key, data, content_type, etag if self._conditions else None)
        except OperationUnsupported:
            logger.warning("%s knows no conditional writes: writing without", self._host)
            self._conditions = False
            return self._put(key, data, content_type, None)
