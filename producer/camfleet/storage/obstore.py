"""Single objects through obstore: a fifth of boto3's CPU time, and it releases the GIL.

For what it can't do or explain it raises `NotHandled`, and boto3 takes over.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit

from camfleet.settings import Settings
from camfleet.storage.boto import BotoBackend, addressing
from camfleet.storage.errors import NotHandled, boto_errors, obstore_errors
from camfleet.storage.place import ABSENT, Place, StoredObject, check_size

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, PutMode
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, S3Store

_BUCKET = re.compile(r"(?!.*--x-s3$)[A-Za-z0-9][A-Za-z0-9._-]{1,254}")  # not Express: own sessions
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # what can be part of a host's name
_LARGEST = 2**20  # bytes of a write: its time limit counts from the start, not from the last byte
_TRIES = 2
_CREDENTIALS = timedelta(minutes=6)  # obstore asks again five minutes before their end
_STORES = 16

_home: dict[str, int] = {}

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")


class Stores(Generic[K, S]):
    """obstore's stores that were used last, by what they're made for. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, S] = OrderedDict()

    def get(self, key: K, make: Callable[[], S]) -> S:
        """Return the store of a key, made if it isn't there."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > _STORES:
                self._kept.popitem(last=False)
            return self._kept[key]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


def stored(found: "GetResult", place: Place, limit: int | None) -> StoredObject:
    """Return the object of an answer that has begun; raise `ObjectTooLarge` before the rest."""
    check_size(place, found.meta["size"], limit)
    etag = (found.meta["e_tag"] or "").strip('"') or None
    return StoredObject(bytes(found.bytes()), etag)


class ObstoreBackend:
    """A `Backend`: one store per bucket and number of tries. Safe to share by threads.

    `seconds` limits the wait for an answer to begin and to continue, `longest` that for all of it.
    What took a third of `seconds` isn't retried.
    """

    def __init__(
        self, settings: Settings, boto: BotoBackend, seconds: float, longest: float
    ) -> None:
        self._settings = settings
        self._boto = boto
        self._seconds = seconds
        self._longest = longest
        self._stores: Stores[tuple[str, int], S3Store] = Stores()
        self._left: set[str] = set()

    def get(self, place: Place, limit: int | None) -> StoredObject:
        store = self._store(place)
        with obstore_errors(place):
            return stored(store.get(place.key), place, limit)

    def get_range(self, place: Place, start: int, length: int, etag: str | None) -> bytes:
        store = self._store(place)
        with obstore_errors(place):
            if etag is None:
                return bytes(store.get_range(place.key, start=start, length=length))
            wanted: GetOptions = {"range": (start, start + length), "if_match": f'"{etag}"'}
            return bytes(store.get(place.key, options=wanted).bytes())

    def put(self, place: Place, data: bytes, content_type: str, etag: str | None) -> None:
        if len(data) > _LARGEST:
            raise NotHandled
        store = self._store(place, tries=_TRIES if etag is None else 1)
        with obstore_errors(place):
            store.put(
                place.key,
                data,
                attributes={"Content-Type": content_type},
                mode=_mode(etag),
                use_multipart=False,
            )

    def check(self, place: Place) -> None:
        """Read a byte: the answer to a HEAD doesn't tell whether the bucket is missing."""
        store = self._store(place)
        with obstore_errors(place):
            store.get(place.key, options={"range": (0, 1)}).bytes()

    def leave(self, bucket: str) -> None:
        """Leave this bucket to boto3 from now on."""
        self._left.add(bucket)

    def close(self) -> None:
        self._stores.clear()

    def _store(self, place: Place, tries: int = _TRIES) -> "S3Store":
        if not self._takes(place):
            raise NotHandled
        return self._stores.get((place.bucket, tries), lambda: self._make_store(place, tries))

    def _takes(self, place: Place) -> bool:
        """Return whether obstore can address this; it would rewrite keys with empty segments."""
        return (
            "" not in place.key.split("/")
            and _BUCKET.fullmatch(place.bucket) is not None
            and place.bucket not in self._left
            and at_home()
        )

    def _make_store(self, place: Place, tries: int) -> "S3Store":
        from obstore.store import S3Store

        with boto_errors(place):
            options = self._client_options()
            endpoint, virtual = self._address(place.bucket)
        with boto_errors(place), obstore_errors(place):
            return S3Store(
                place.bucket,
                endpoint=endpoint,
                aws_endpoint_url_s3=endpoint,  # or that of the environment would win
                virtual_hosted_style_request=virtual,
                region=self._settings.s3_region,
                conditional_put="etag",
                credential_provider=self._provider,
                client_options=options,
                retry_config={
                    "max_retries": tries - 1,
                    "retry_timeout": timedelta(seconds=self._seconds / 3),
                },
            )

    def _client_options(self) -> "ClientConfig":
        options: ClientConfig = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=min(5, self._seconds)),
            "read_timeout": timedelta(seconds=self._seconds),
            "timeout": timedelta(seconds=self._longest),
        }
        trusted = self._boto.root_certificates
        return {**options, "root_certificate": trusted} if trusted else options

    def _address(self, bucket: str) -> tuple[str, bool]:
        """Return the bucket's endpoint and whether the bucket is named in it, as boto3 would."""
        url = urlsplit(self._boto.endpoint)
        amazon = url.netloc.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        style = addressing(self._settings) or ("virtual" if amazon else "path")
        if style == "path" or not _LABEL.fullmatch(bucket):  # dots: no certificate names that
            return url.geturl(), False
        return url._replace(netloc=f"{bucket}.{url.netloc}").geturl(), True

    @cached_property
    def _provider(self) -> "Boto3CredentialProvider":
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider(self._boto.session, ttl=_CREDENTIALS)


def _mode(etag: str | None) -> "PutMode":
    if etag is None:
        return "overwrite"
    return "create" if etag == ABSENT else {"e_tag": f'"{etag}"'}


def at_home() -> bool:
    """Return whether this process used obstore first: its threads don't survive a fork."""
    return _home.setdefault("process", os.getpid()) == os.getpid()
