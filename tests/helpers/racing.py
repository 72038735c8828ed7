"""A program whose threads read messages of kinds that no thread has read before, all at once."""

import sys
import threading
from typing import Annotated

import msgspec

from camfleet.contract.codec import Wire, decode_json

THREADS = 3


def new_kind():
    kinds = [
        msgspec.defstruct(f"Part{number}", [("a", Annotated[int, msgspec.Meta(ge=0)], 1)])
        for number in range(10)
    ]
    fields = [(f"part{number}", kind | None, None) for number, kind in enumerate(kinds)]
    return msgspec.defstruct("Whole", fields, bases=(Wire,), frozen=True, kw_only=True)


def read(kind, together):
    together.wait()
    assert decode_json(b'{"part9": {"a": 2}}', kind).part9.a == 2


def main():
    sys.setswitchinterval(1e-6)
    for _ in range(200):
        kind, together = new_kind(), threading.Barrier(THREADS)
        threads = [threading.Thread(target=read, args=(kind, together)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.stdout.write("ok\n")


if __name__ == "__main__":
    main()
