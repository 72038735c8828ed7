"""Cutting and converting a model in a process of its own.

That process takes TensorFlow and its memory along when it ends, leaves the lock of Python to the
images in work, and if a model kills it, the worker says so and lives.
"""

import itertools
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

import msgspec

from camfleet.contract.messages import ErrorInfo
from camfleet.errors import CamfleetError, InternalError, from_code
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet_worker.models.converted import disk
from camfleet_worker.process.runtime import configure, load_tensorflow


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
    `ModelRefused`; `InternalError` where that process broke or was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reply"
        command = [sys.executable, "-m", __name__, str(path)]
        done = subprocess.run(command, input=pickle.dumps(order), stdout=2, check=False)  # noqa: S603  # ourselves
        if not path.exists():
            end = done.returncode
            how = f"was killed by {signal.Signals(-end).name}" if end < 0 else f"exited: {end}"
            raise InternalError(
                f"the process that loaded model {order.card.id} {how}: it was out of memory, or a "
                "library failed (see the worker's log)"
            )
        reply = msgspec.json.decode(path.read_bytes(), type=_Reply)
    if reply.error:
        raise from_code(reply.error.code, reply.error.message)
    return reply.kept


def _carried_out(order: Order) -> bool:
    configure(order.settings)
    load_tensorflow(order.settings)
    from camfleet_worker.models.tf import conversion
    from camfleet_worker.models.tf.cutting import cut_model

    allowed = order.settings.allow_custom_code
    splits = cut_model(order.card, order.path, order.layers, custom_code_allowed=allowed)
    if not all(map(disk.is_closed, splits)):
        return False
    try:
        models = [conversion.from_split(each) for each in splits]
    except Exception:  # noqa: BLE001  # the worker tries again, and says why it can't
        return False
    places = (disk.place(order.folder, asked) for asked in order.layers)
    return all(itertools.starmap(disk.keep, zip(splits, models, places, strict=True)))


def _reply(order: Order) -> _Reply:
    try:
        return _Reply(_carried_out(order))
    except CamfleetError as error:
        return _Reply(False, ErrorInfo(code=error.code, message=error.message))
    except Exception as error:  # noqa: BLE001  # the worker learns it, whatever it is
        traceback.print_exc()
        said = f"loading model {order.card.id} broke: {type(error).__name__}: {str(error)[:300]}"
        return _Reply(False, ErrorInfo(code=InternalError.code, message=said))


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who stops the worker waits for its work
    order = pickle.load(sys.stdin.buffer)  # noqa: S301  # from ourselves
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(_reply(order)))


if __name__ == "__main__":
    _main()
