"""Producers without workers: a client with a model that nobody loads, and what it has sent."""

import base64
import json
from contextlib import closing, contextmanager
from pathlib import Path

from camfleet import Client
from camfleet.broker import dispatch, keys
from camfleet.broker.redis import redis_client
from camfleet.contract.codec import decode
from camfleet.contract.records import ChunkRef, Item
from camfleet.contract.results import Result, Status
from helpers.databases import on_database

_CARD = 'artifact = "net.keras"\nlabels = ["a", "b"]\n[input]\nheight = 8\nwidth = 8\n'
SCRIPT = Path(dispatch.__file__).with_name("lua") / "dispatch.lua"
_EMPTY = {**dict.fromkeys(Result.__struct_fields__), "rank": 0}


@contextmanager
def producing(settings, folder, *, model, database, **changes):
    """Give a client and its Redis, emptied, with a database and a model of their own."""
    own = on_database(settings, database, **changes)
    (folder / "net.keras").write_bytes(b"weights")
    (folder / "card.toml").write_text(f'id = "{model}"\n{_CARD}')
    with Client(own) as client, closing(redis_client(own)) as redis:
        redis.flushdb()
        client.models._check = lambda _digest, _timeout: {}
        client.models.add(folder / "card.toml")
        yield client, redis


def items(count, start=0):
    return [
        Item(item_id=str(number), image_uri=f"s3://b/{number}", target=None, inputs=None)
        for number in range(start, start + count)
    ]


def row(item_id, end):
    """Return the row of an image that ended with this status or, failed, with this error code."""
    plain = end in (Status.OK, Status.NO_EVIDENCE)
    status, code = (Status(end), None) if plain else (Status.FAILED, end)
    return Result(**{**_EMPTY, "item_id": item_id, "status": status, "error_code": code})


def drain(redis, form=1):
    """Take all chunks out of the queues, sending the next ones as workers do; return them."""
    send_next = redis.register_script(SCRIPT.read_text())
    queues = [keys.FIRST_QUEUES[form - 1], keys.BULK_QUEUES[form - 1]]
    refs = []
    while taken := [text for queue in queues for text in redis.rpop(queue, 1000) or ()]:
        refs += map(ref_of, taken)
        send_next(keys=dispatch._KEYS, args=dispatch._words(str))
    return refs


def ref_of(message):
    """Return the chunk that a message is about, as workers read it."""
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    return decode(body[1]["ref"], ChunkRef)


class Sent:
    """The chunks that have been sent, when it's called."""

    def __init__(self, redis, form=1):
        self._redis, self._form = redis, form
        self._refs = []

    def __call__(self):
        self._refs += drain(self._redis, self._form)
        return self._refs
