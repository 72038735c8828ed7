"""Cutting and converting a model in a process of its own.

That process takes TensorFlow and its memory along when it ends, leaves the lock of Python to the
images in work, and if a model kills it, the worker says so and lives.
"""

import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from camfleet.cards import Card
from camfleet.contract import ErrorInfo
from camfleet.errors import CamfleetError, ModelRefused, from_code
from camfleet.settings import Settings
from camfleet_worker.device import configure, load_tensorflow
from camfleet_worker.models import kept


class Order(NamedTuple):
    """What to cut where, and the folder to keep it in; the model file is the card's."""

    card: Card
    path: Path
    layers: tuple[str, ...]
    settings: Settings
    folder: Path


class _Reply(msgspec.Struct):
    """Whether all layers are kept, or why the model is refused."""

    kept: bool
    error: ErrorInfo | None = None


def convert(order: Order) -> bool:
    """Cut, convert and keep a model; return whether all its layers are kept whole.

    They aren't where OpenVINO can't run the model, or Keras must differentiate its head. Raises
    `ModelRefused`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reply"
        command = [sys.executable, "-m", __name__, str(path)]
        done = subprocess.run(command, input=pickle.dumps(order), stdout=2, check=False)  # noqa: S603  # ourselves
        if done.returncode < 0:
            raise ModelRefused(
                f"the process that loaded model {order.card.id} was killed by "
                f"{signal.Signals(-done.returncode).name}: it was out of memory, or a library "
                "failed (see the worker's log)"
            )
        if not path.exists():  # a bug; the caller meets it again
            return False
        reply = msgspec.json.decode(path.read_bytes(), type=_Reply)
    if reply.error:
        raise from_code(reply.error.code, reply.error.message)
    return reply.kept


def _carried_out(order: Order) -> _Reply:
    configure(order.settings)
    load_tensorflow(order.settings)
    from camfleet_worker.models.tf import conversion
    from camfleet_worker.models.tf.cutting import cut_model

    allowed = order.settings.allow_custom_code
    try:
        splits = cut_model(order.card, order.path, order.layers, custom_code_allowed=allowed)
    except CamfleetError as error:
        return _Reply(False, ErrorInfo(code=error.code, message=error.message))
    if not all(map(kept.is_closed, splits)):
        return _Reply(False)
    places = [kept.place(order.folder, asked) for asked in order.layers]
    pairs = zip(splits, places, strict=True)
    return _Reply(all(kept.keep(split, conversion.from_split(split), to) for split, to in pairs))


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who stops the worker waits for its work
    order = pickle.load(sys.stdin.buffer)  # noqa: S301  # from ourselves
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(_carried_out(order)))


if __name__ == "__main__":
    _main()
