"""Connections of boto3 on which an answer comes to an end in time.

botocore's own limit is for each piece of an answer: a store that sends a byte now and then would be
waited for without end, in its headers, in a listing or in an object.
"""

import time
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any

_SLOWEST = 1024  # bytes a second, once an answer has taken its time


def bound(client: Any, seconds: float) -> None:
    """Let no answer to a client take longer than `seconds`, and a second more for each KiB of it.

    What takes longer ends as a timeout of reading. Nor does the client wait for the store's consent
    (`Expect: 100-continue`) before it sends a file: botocore reads that without any limit.
    """
    from botocore import awsrequest

    class Http(awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # untyped
        response_class = _answer_within(seconds)

    class Https(awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
        response_class = _answer_within(seconds)

    class HttpPool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Http

    class HttpsPool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = Https

    pools = client._endpoint.http_session._pool_classes_by_scheme  # noqa: SLF001  # no public way
    pools.update(http=HttpPool, https=HttpsPool)
    client.meta.events.register_last("before-call.s3", _expect_nothing)


def _expect_nothing(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


def _answer_within(seconds: float) -> type[HTTPResponse]:
    class Answer(HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = BufferedReader(_Paced(self.fp.detach(), seconds))

    return Answer


class _Paced(RawIOBase):
    """Reads a socket's file until it's too late: then it raises `TimeoutError`."""

    def __init__(self, raw: RawIOBase, seconds: float) -> None:
        super().__init__()
        self._raw = raw
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._until:
            raise TimeoutError("the answer takes too long")
        read: int | None = self._raw.readinto(buffer)
        self._until += (read or 0) / _SLOWEST
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()
