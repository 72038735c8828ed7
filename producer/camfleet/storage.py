"""Object storage: a few verbs over boto3, whose exceptions stop here."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import (
    AccessDenied,
    InvalidRequest,
    ObjectMissing,
    ObjectTooLarge,
    StorageUnavailable,
)
from camfleet.settings import Settings

_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_DENIED = {"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_PASSING = (408, 425, 429)  # time-outs and throttling
_PROOF = "setup-proof"
_client_lock = threading.Lock()


@dataclass(frozen=True)
class StoredObject:
    data: bytes
    etag: str | None


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; keys are taken as they stand, not unquoted."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise InvalidRequest(f"{uri!r} is not of the form s3://bucket/key")
    return bucket, key


class Storage:
    """The bucket of the settings, and any other bucket by full URI. Safe to share by threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.bucket = settings.bucket

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def get(self, key_or_uri: str, *, limit: int | None = None) -> StoredObject:
        """Return an object's bytes; raise `ObjectMissing` or, before reading, `ObjectTooLarge`."""
        bucket, key = self._place(key_or_uri)
        with self._errors(f"s3://{bucket}/{key}"):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            with answer["Body"] as body:
                if limit is not None and answer["ContentLength"] > limit:
                    raise ObjectTooLarge(
                        f"s3://{bucket}/{key} has {answer['ContentLength']} bytes, "
                        f"more than {limit}"
                    )
                return StoredObject(body.read(), answer.get("ETag", "").strip('"') or None)

    def put(self, key: str, data: bytes, content_type: str) -> str:
        """Write an object into the settings' bucket and return its URI.

        Raises `StorageUnavailable`, also when our own bucket is missing or refuses us: that is
        never the fault of what is written.
        """
        uri = self.uri(key)
        try:
            with self._errors(uri):
                self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=data, ContentType=content_type
                )
        except (AccessDenied, ObjectMissing) as error:
            raise StorageUnavailable(f"can't write: {error}") from error
        return uri

    def upload(self, key: str, path: str) -> None:
        """Stream a file of any size to `key`."""
        with self._errors(self.uri(key)):
            self._client.upload_file(path, self.bucket, key)

    def download(self, key: str, path: str) -> None:
        """Stream the object at `key` into a file."""
        with self._errors(self.uri(key)):
            self._client.download_file(self.bucket, key, path)

    def exists(self, key: str) -> bool:
        try:
            with self._errors(self.uri(key)):
                self._client.head_object(Bucket=self.bucket, Key=key)
        except ObjectMissing:
            return False
        return True

    def keys(self, key_or_uri: str) -> Iterator[str]:
        """Yield the keys below a prefix, in order, a page at a time."""
        bucket, prefix = self._place(key_or_uri)
        with self._errors(f"s3://{bucket}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for each in page.get("Contents", ()):
                    yield each["Key"]

    def delete(self, doomed: list[str]) -> None:
        with self._errors(self.uri("")):
            for start in range(0, len(doomed), 1000):
                batch = [{"Key": key} for key in doomed[start : start + 1000]]
                self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch})

    def set_up(self) -> None:
        """Make the bucket if it's missing and prove that it can be written and read.

        Raises `StorageUnavailable` or `AccessDenied`.
        """
        with self._errors(self.uri("")):
            names = [each["Name"] for each in self._client.list_buckets()["Buckets"]]
            if self.bucket not in names:
                self._client.create_bucket(Bucket=self.bucket)
        proof = secrets.token_bytes(16)
        self.put(_PROOF, proof, "application/octet-stream")
        if self.get(_PROOF).data != proof:
            raise StorageUnavailable(f"{self.uri(_PROOF)} reads back another content")
        self.delete([_PROOF])

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def _place(self, key_or_uri: str) -> tuple[str, str]:
        if "://" in key_or_uri:
            return split_uri(key_or_uri)
        return self.bucket, key_or_uri

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"max_attempts": 3, "mode": "standard"},
            max_pool_connections=self._settings.io_threads * 2 + 4,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if self._settings.s3_endpoint else {},
        )
        with _client_lock:  # making clients is not thread-safe in boto3, using them is
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self._settings.s3_endpoint or None,
                region_name=self._settings.s3_region,
                config=config,
            )

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            ParamValidationError,
        )

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING:
                raise ObjectMissing(f"{uri} does not exist") from error
            if code in _DENIED:
                raise AccessDenied(
                    f"{uri}: the object store refuses these credentials ({code}); "
                    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from error
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if 400 <= status < 500 and status not in _PASSING:
                raise InvalidRequest(f"{uri}: the object store refuses this: {error}") from error
            raise StorageUnavailable(f"{uri}: {error}") from error
        except ParamValidationError as error:
            reason = " ".join(str(error).split())[:200]
            raise InvalidRequest(f"{uri!r} can't be an S3 object: {reason}") from error
        except NoCredentialsError as error:
            raise AccessDenied(
                f"{uri}: no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise StorageUnavailable(
                f"{uri}: no answer from the object store at {self._host()} "
                f"({type(error).__name__}); is it running, and is CAMFLEET_S3_ENDPOINT right?"
            ) from error

    def _host(self) -> str:
        return urlsplit(self._settings.s3_endpoint).netloc or "Amazon S3"
