"""Producers without workers: a client with a model that nobody loads, and what it has sent."""

import base64
import json
from contextlib import closing, contextmanager

from camfleet import Client
from camfleet.broker.redis import redis_client
from camfleet.contract.codec import decode
from camfleet.contract.messages import BULK_QUEUE
from camfleet.contract.records import ChunkRef, Item
from camfleet.contract.results import Result, Status
from helpers.databases import on_database

_CARD = 'artifact = "net.keras"\nlabels = ["a", "b"]\n[input]\nheight = 8\nwidth = 8\n'
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


def drain(redis):
    """Take all messages out of the bulk queue and return their chunks, as workers get them."""
    bodies = [json.loads(message)["body"] for message in redis.lrange(BULK_QUEUE, 0, -1)]
    redis.delete(BULK_QUEUE)
    refs = [decode(json.loads(base64.b64decode(body))[1]["ref"], ChunkRef) for body in bodies]
    return refs[::-1]
