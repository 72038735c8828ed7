"""boto3: credentials, buckets, lists, whole files, and the objects that obstore can't handle.

In boto3 making sessions and clients isn't thread-safe; using them is.
"""

import threading
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from camfleet.settings import Settings
from camfleet.storage.errors import boto_errors
from camfleet.storage.place import ABSENT, Place, StoredObject, check_size

_TRIES = 2


class BotoBackend:
    """A `Backend`: clients of one session; `seconds` limits the wait for an answer's next bytes."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds
        self._lock = threading.RLock()
        self._clients: dict[int, Any] = {}

    @cached_property
    def session(self) -> Any:
        import boto3

        with self._lock:
            return boto3.session.Session(region_name=self._settings.s3_region)

    @property
    def endpoint(self) -> str:
        """The endpoint URL, Amazon's too."""
        return self._settings.s3_endpoint or str(self.client().meta.endpoint_url)

    @property
    def root_certificates(self) -> bytes | None:
        """The PEM bundle that boto3 is configured to trust (AWS_CA_BUNDLE, `ca_bundle`)."""
        path = self.session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # no public way
        return Path(path).read_bytes() if path else None

    def client(self, tries: int = _TRIES) -> Any:
        """Return the client that makes up to `tries` attempts."""
        with self._lock:
            if tries not in self._clients:
                self._clients[tries] = self._make_client(tries)
            return self._clients[tries]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def get(self, place: Place, limit: int | None) -> StoredObject:
        with boto_errors(place):
            answer = self.client().get_object(Bucket=place.bucket, Key=place.key)
            with closing(answer["Body"]) as body:  # its own context manager bypasses its errors
                check_size(place, answer["ContentLength"], limit)
                return StoredObject(body.read(), answer.get("ETag", "").strip('"') or None)

    def put(self, place: Place, data: bytes, content_type: str, etag: str | None) -> None:
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        if etag == ABSENT:
            condition = {"IfNoneMatch": "*"}
        with boto_errors(place):
            self.client(1 if condition else _TRIES).put_object(
                Bucket=place.bucket,
                Key=place.key,
                Body=data,
                ContentType=content_type,
                **condition,
            )

    def check(self, place: Place) -> None:
        with boto_errors(place):
            self.client().head_object(Bucket=place.bucket, Key=place.key)

    def _make_client(self, tries: int) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=min(5, self._seconds),
            read_timeout=self._seconds,
            retries={"total_max_attempts": tries, "mode": "standard"},
            max_pool_connections=self._settings.io_threads * 2 + 4,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if self._settings.s3_endpoint else {},
        )
        return self.session.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint or None,
            region_name=self._settings.s3_region,
            config=config,
        )


def host(endpoint: str) -> str:
    return urlsplit(endpoint).netloc or "Amazon S3"
