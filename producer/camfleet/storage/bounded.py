"""Connections of boto3 on which an answer comes to an end in time.

botocore's own limit is for each piece of an answer: a store that sends a byte now and then would be
waited for without end, in its headers, in a listing or in an object.
"""

import time
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any

_SLOWEST = 1024  # bytes a second, once an answer has taken its time


def bound(client: Any, seconds: float, most: int | None = None) -> None:
    """Let no answer to a client take longer than `bound_http` says.

    Nor does the client wait for the store's consent (`Expect: 100-continue`) before it sends a
    file: botocore reads that without any limit.
    """
    bound_http(client._endpoint.http_session, seconds, most)  # noqa: SLF001  # no public way
    client.meta.events.register_last("before-call.s3", _expect_nothing)


def bound_http(http_session: Any, seconds: float, most: int | None) -> None:
    """Let no answer take longer than `seconds`, and a second more for each KiB of it.

    What takes longer ends as a timeout of reading, and so does what has more than `most` bytes.
    """
    from botocore import awsrequest

    class Http(awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # untyped
        response_class = _answer_within(seconds, most)

    class Https(awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
        response_class = _answer_within(seconds, most)

    class HttpPool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Http

    class HttpsPool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = Https

    pools = http_session._pool_classes_by_scheme  # noqa: SLF001  # no public way
    pools.update(http=HttpPool, https=HttpsPool)


def _expect_nothing(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


def _answer_within(seconds: float, most: int | None) -> type[HTTPResponse]:
    class Answer(HTTPResponse):
        def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = BufferedReader(_Paced(self.fp.detach(), seconds, most))

    return Answer


class _Paced(RawIOBase):
    """Reads a socket's file until it's too late, or too much: then it raises `TimeoutError`."""

    def __init__(self, raw: RawIOBase, seconds: float, most: int | None) -> None:
        super().__init__()
        self._raw = raw
        self._left = most
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._until:
            raise TimeoutError("the answer takes too long")
        read: int | None = self._raw.readinto(buffer)
        self._until += (read or 0) / _SLOWEST
        if self._left is not None:
            self._left -= read or 0
            if self._left < 0:
                raise TimeoutError("the answer is too long")
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()
