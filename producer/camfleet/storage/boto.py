"""boto3: credentials, buckets, lists, whole files, and the objects that obstore can't handle.

In boto3 making sessions and clients isn't thread-safe; using them is.
"""

import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import OperationUnsupported
from camfleet.forks import PerProcess
from camfleet.settings import Settings
from camfleet.storage.errors import boto_errors
from camfleet.storage.place import ABSENT, AMAZON, Place, StoredObject, check_size
from camfleet.storage.programs import bound_session
from camfleet.temporary import temporary_folder

_TRIES = 2


class BotoBackend:
    """A `Backend`: clients of one session, which gets credentials and renews them in time.

    `seconds` limits the wait for an answer's next bytes, `longest` that for all of it, besides a
    second for each KiB; who gives credentials has the time that `bound_session` says. Session and
    clients are this process's own: a forked child starts with new ones.
    """

    def __init__(self, settings: Settings, seconds: float, longest: float) -> None:
        self._settings = settings
        self._own = PerProcess(lambda: _Session(settings, seconds, longest))

    @property
    def session(self) -> Any:
        return self._own.get().session

    @property
    def endpoint(self) -> str:
        """The endpoint URL, Amazon's too."""
        return self._settings.s3_endpoint or str(self.client().meta.endpoint_url)

    @property
    def root_certificates(self) -> bytes | None:
        """The PEM bundle to trust instead of the system's, if there's one."""
        path = self._own.get().ca_bundle
        return Path(path).read_bytes() if path else None

    def client(self, tries: int = _TRIES) -> Any:
        """Return the client that makes up to `tries` attempts."""
        return self._own.get().client(tries)

    def close(self) -> None:
        own = self._own.drop()
        if own is not None:
            own.close()

    def get(self, place: Place, limit: int | None) -> StoredObject:
        with boto_errors(place):
            answer = self.client().get_object(Bucket=place.bucket, Key=place.key)
            with closing(answer["Body"]) as body:  # its own context manager bypasses its errors
                check_size(place, answer["ContentLength"], limit)
                return StoredObject(body.read(), answer.get("ETag", "").strip('"') or None)

    def get_range(self, place: Place, start: int, length: int, etag: str | None) -> bytes:
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        if etag is not None:
            wanted["IfMatch"] = f'"{etag}"'
        with boto_errors(place):
            answer = self.client().get_object(Bucket=place.bucket, Key=place.key, **wanted)
            with closing(answer["Body"]) as body:
                if not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
                    raise OperationUnsupported(f"{place}: the object store sends no parts of it")
                return bytes(body.read(length))

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

    def download(self, place: Place, path: str, limit: int | None) -> None:
        """Stream an object into a file, in several streams where it's large."""
        if limit is not None:
            found = self.client().head_object(Bucket=place.bucket, Key=place.key)
            check_size(place, found["ContentLength"], limit)
        from boto3.s3.transfer import TransferConfig

        self.client().download_file(
            place.bucket,
            place.key,
            path,
            Callback=_counter(place, limit),
            Config=TransferConfig(num_download_attempts=_TRIES),
        )

    def presign(self, place: Place, seconds: int, content_type: str | None = None) -> str:
        """Return a URL that reads an object without credentials, for so many seconds."""
        as_type = {"ResponseContentType": content_type} if content_type else {}
        return self._presign("get_object", place, seconds, as_type)

    def presign_put(self, place: Place, seconds: int, content_type: str, nbytes: int) -> str:
        """Return a URL that writes an object without credentials, for so many seconds."""
        signed = {"ContentType": content_type, "ContentLength": nbytes, "IfNoneMatch": "*"}
        return self._presign("put_object", place, seconds, signed)

    def _presign(self, verb: str, place: Place, seconds: int, more: dict[str, Any]) -> str:
        with boto_errors(place):
            signer = self._own.get().client(_TRIES, "s3v4")  # or botocore would take version 2
            params = {"Bucket": place.bucket, "Key": place.key, **more}
            url: str = signer.generate_presigned_url(verb, params, seconds)
            return url

    def check(self, place: Place) -> None:
        with boto_errors(place):
            self.client().head_object(Bucket=place.bucket, Key=place.key)


class _Session:
    """A session and its clients."""

    def __init__(self, settings: Settings, seconds: float, longest: float) -> None:
        import boto3
        from botocore.session import get_session

        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[tuple[int, str | None], Any] = {}
        self._waits = {"connect_timeout": min(5, seconds), "read_timeout": seconds}
        whole = get_session()
        whole.set_default_client_config(self._config(_TRIES))  # of the clients that ask STS, too
        bound_session(whole, seconds, longest)
        self.session = boto3.session.Session(botocore_session=whole, region_name=settings.s3_region)

    @cached_property
    def ca_bundle(self) -> str | None:
        """The path of the PEM bundle to trust, or None for boto3's own.

        CAMFLEET_CA_FILE comes on top of that, or of what boto3 is configured with (AWS_CA_BUNDLE,
        `ca_bundle`). It doesn't count for Amazon's own endpoint, whose certificates are public.
        """
        from botocore.httpsession import get_cert_path

        configured = self.session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # no public way
        if not (self._settings.ca_file and self._settings.s3_endpoint):
            return configured or None
        return self._join(configured or get_cert_path(verify=True), self._settings.ca_file)

    def _join(self, *paths: str) -> str:
        """Return a file with what all of them hold; it goes with this session."""
        with ExitStack() as stack:
            joined = stack.enter_context(temporary_folder()) / "ca.pem"
            joined.write_bytes(b"\n".join(Path(path).read_bytes() for path in paths))
            weakref.finalize(self, stack.pop_all().close)
        return str(joined)

    def client(self, tries: int, signature: str | None = None) -> Any:
        with self._lock:
            if (tries, signature) not in self._clients:
                self._clients[tries, signature] = self._make_client(tries, signature)
            return self._clients[tries, signature]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _make_client(self, tries: int, signature: str | None) -> Any:
        style = addressing(self._settings)
        config = self._config(
            tries,
            max_pool_connections=self._settings.io_threads * 2 + 4,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version=signature,
            s3={"addressing_style": style} if style else {},
        )
        return self.session.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint or None,
            region_name=self._settings.s3_region,
            verify=self.ca_bundle,
            config=config,
        )

    def _config(self, tries: int, **more: Any) -> Any:
        from botocore.config import Config

        retries = {"total_max_attempts": tries, "mode": "standard"}
        return Config(**self._waits, retries=retries, **more)


def addressing(settings: Settings) -> str:
    """Return how buckets are named, `path` or `virtual`; empty for boto3's choice, by the bucket.

    That is for Amazon's own endpoint; others need not have a name for each bucket.
    """
    if settings.s3_addressing != "auto":
        return settings.s3_addressing
    return "path" if settings.s3_endpoint else ""


def _counter(place: Place, limit: int | None) -> Callable[[int], None] | None:
    """Return what ends a download of more than `limit` bytes: it may have grown since."""
    if limit is None:
        return None
    pieces: list[int] = []

    def count(piece: int) -> None:
        pieces.append(piece)  # atomic, and called by several threads
        check_size(place, sum(pieces), limit)

    return count


def host(endpoint: str) -> str:
    return urlsplit(endpoint).netloc or AMAZON
