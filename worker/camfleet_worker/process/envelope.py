"""Messages as they may come out of Redis: what camfleet's programs send, and nothing else.

Celery believes what it reads, and some of what may lie in a queue ends its loop or comes back for
ever. So every message is read strictly before Celery sees it, and written anew with only what was
read: no other task, no time in the far future, no follow-up task, no queue but its own.
"""

import binascii
from typing import Annotated, Any, Literal, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct, field

from camfleet.broker.requests import ATTEMPT_HEADER
from camfleet.contract.lanes import KINDS, queues_of
from camfleet.contract.messages import (
    CHUNK_TASK,
    FIRST_TASK,
    LARGEST_REQUEST,
    QUESTION_TASKS,
    SENT_HEADER,
    Plain,
    kind_of,
)

LARGEST = 2 * LARGEST_REQUEST  # bytes: a body is a third longer in base64, and has headers
_WHY = 200  # characters of an error
_MARKER = b'"__type__"'  # kombu makes objects of such values

_QUEUES = tuple(queue for kind in KINDS for queue in queues_of(kind))

Id = Annotated[str, Meta(pattern=r"^[!-~]{1,200}\Z")]
S = TypeVar("S")


class ForgedMessage(Exception):
    """What was read is no message of camfleet's; says why, and doesn't quote it."""


class _DeliveryInfo(Struct):
    redelivered: bool = False


class _Properties(Struct):
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64"]


class _Envelope(Struct):
    body: str
    properties: _Properties
    content_type: Literal["application/json"] = field(name="content-type")
    content_encoding: Literal["utf-8"] = field(name="content-encoding")


class _TaskHeaders(Struct):
    """Those that matter; camfleet sends nothing that starts later, expires, or is part of more."""

    id: Id
    task: str
    eta: None = None
    expires: None = None
    group: None = None
    chord: None = None
    timelimit: tuple[None, None] | None = None
    ignore_result: bool | None = None
    sent: float | None = field(default=None, name=SENT_HEADER)
    attempt: Annotated[int, Meta(ge=1, le=1000)] = field(default=1, name=ATTEMPT_HEADER)


class _TaskEnvelope(_Envelope):
    headers: _TaskHeaders


class _Embed(Struct, forbid_unknown_fields=True):
    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


class _Chunk(Struct, forbid_unknown_fields=True):
    ref: Plain


class _Question(Struct, forbid_unknown_fields=True):
    request: Plain


_None = Annotated[list[None], Meta(max_length=0)]
_BODIES: dict[str, msgspec.json.Decoder[Any]] = {
    **dict.fromkeys(QUESTION_TASKS, msgspec.json.Decoder(tuple[_None, _Question, _Embed])),
    **dict.fromkeys((CHUNK_TASK, FIRST_TASK), msgspec.json.Decoder(tuple[_None, _Chunk, _Embed])),
}


class _ControlHeaders(Struct):
    clock: Annotated[int, Meta(ge=0, lt=2**62)] | None = None


class _ControlEnvelope(_Envelope):
    headers: _ControlHeaders


class _ReplyTo(Struct, forbid_unknown_fields=True):
    exchange: Literal["reply.celery.pidbox"]
    routing_key: Id


class _Command(Struct, forbid_unknown_fields=True):
    """One of Celery's remote control commands; a regular expression could take hours."""

    method: Id
    arguments: dict[str, Plain] | None = None
    destination: list[str] | None = None
    pattern: Annotated[str, Meta(max_length=200)] | None = None
    matcher: Literal["glob"] | None = None
    ticket: Id | None = None
    reply_to: _ReplyTo | None = None


_COMMAND = msgspec.json.Decoder(_Command)


class _Restorable(Struct):
    """What kombu needs of any message to put it back into its queue."""

    headers: dict[str, Any]
    properties: dict[str, Any]


def load(text: str) -> Any:
    """Return the JSON of a message, in the place of kombu's own `loads`."""
    if len(text) > LARGEST:
        raise ForgedMessage(f"it has {len(text)} characters, more than {LARGEST}")
    try:
        return msgspec.json.decode(text)  # which takes no half surrogate pairs, as Python's does
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise ForgedMessage(f"it isn't JSON: {_why(error)}") from None


def task_message(message: object, queue: str) -> dict[str, Any]:
    """Return a message from a queue as camfleet's programs write it, or raise `ForgedMessage`."""
    found = _convert(message, _TaskEnvelope)
    head = found.headers
    wrong = queue in _QUEUES and queue not in queues_of(kind_of(head.task))
    if wrong or head.task not in _BODIES:
        raise ForgedMessage(f"no task of {queue} is called {head.task[:60]!r}")
    body = msgspec.json.encode(_body(found, _BODIES[head.task]))
    if _MARKER in body:
        raise ForgedMessage("it holds a value of a type of Celery's own")
    headers: dict[str, Any] = {"lang": "py", "task": head.task, "id": head.id, "root_id": head.id}
    headers["ignore_result"] = head.ignore_result
    headers[ATTEMPT_HEADER] = head.attempt
    if head.sent is not None:
        headers[SENT_HEADER] = head.sent
    delivery_info = {
        "exchange": "",
        "routing_key": queue,
        "redelivered": found.properties.delivery_info.redelivered,
    }
    return _envelope(body, headers, delivery_info, correlation_id=head.id)


def control_message(message: object, commands: Any) -> dict[str, Any]:
    """Return a remote control command, one of `commands`, or raise `ForgedMessage`."""
    found = _convert(message, _ControlEnvelope)
    command = _body(found, _COMMAND)
    if command.method not in commands:
        raise ForgedMessage(f"no control command is called {command.method[:60]!r}")
    body = msgspec.json.encode(command)
    if _MARKER in body:
        raise ForgedMessage("it holds a value of a type of Celery's own")
    return _envelope(body, {"clock": found.headers.clock or 0}, {})


def check_restorable(kept: bytes | str) -> None:
    """Raise `ForgedMessage` unless `kept` is a message with its exchange and its queue.

    It may be another Celery application's, whose messages kombu keeps in the same place.
    """
    text = kept.decode(errors="replace") if isinstance(kept, bytes) else kept
    _convert(load(text), tuple[_Restorable, str, str])


def _envelope(
    body: bytes, headers: dict[str, Any], delivery_info: dict[str, Any], **properties: str
) -> dict[str, Any]:
    return {
        "body": binascii.b2a_base64(body, newline=False).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            **properties,
            "delivery_info": delivery_info,
            "delivery_tag": str(uuid4()),  # of its own: a repeated one would mix up two messages
            "priority": 0,
            "body_encoding": "base64",
        },
    }


def _body(envelope: _Envelope, decoder: msgspec.json.Decoder[S]) -> S:
    try:
        return decoder.decode(binascii.a2b_base64(envelope.body, strict_mode=True))
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ForgedMessage(f"its body: {_why(error)}") from None


def _convert(message: object, kind: type[S]) -> S:
    try:
        return msgspec.convert(message, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ForgedMessage(_why(error)) from None


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:_WHY]
