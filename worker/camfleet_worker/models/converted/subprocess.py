"""Cutting and converting a model in a subprocess.

TensorFlow and its memory go when the subprocess ends, the images in progress keep Python's lock
to themselves meanwhile, and a model that kills the subprocess doesn't kill the worker.
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


class Request(NamedTuple):
    """What to convert: a card's model file at these layers, into `folder`."""

    card: Card
    path: Path
    layer_names: tuple[str, ...]
    settings: Settings
    folder: Path


class _Reply(msgspec.Struct):
    """Whether all layers are converted, or why the model is refused."""

    converted: bool
    error: ErrorInfo | None = None


def convert(request: Request) -> bool:
    """Cut and convert a model and save it to disk; return whether that worked for all its layers.

    It doesn't where OpenVINO can't run the model or Keras must differentiate its head. Raises
    `ModelRefused`, or `InternalError` if the subprocess failed or was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reply"
        command = [sys.executable, "-m", __name__, str(path)]
        done = subprocess.run(command, input=pickle.dumps(request), stdout=2, check=False)  # noqa: S603  # ourselves
        if not path.exists():
            end = done.returncode
            how = f"was killed by {signal.Signals(-end).name}" if end < 0 else f"exited: {end}"
            raise InternalError(
                f"the process that loaded model {request.card.id} {how}: it was out of memory, or "
                "a library failed (see the worker's log)"
            )
        reply = msgspec.json.decode(path.read_bytes(), type=_Reply)
    if reply.error:
        raise from_code(reply.error.code, reply.error.message)
    return reply.converted


def _convert(request: Request) -> bool:
    card, path, layer_names, settings, folder = request
    configure(settings)
    load_tensorflow(settings)
    from camfleet_worker.models.tf import conversion
    from camfleet_worker.models.tf.from_card import cut_from_card

    splits = cut_from_card(card, path, layer_names, custom_code_allowed=settings.allow_custom_code)
    if not all(map(disk.has_closed_form, splits)):
        return False
    try:
        models = [conversion.from_split(split) for split in splits]
    except Exception:  # noqa: BLE001  # the worker tries again, and logs why it can't
        return False
    places = (disk.place(folder, layer_name) for layer_name in layer_names)
    return all(itertools.starmap(disk.save, zip(splits, models, places, strict=True)))


def _reply(request: Request) -> _Reply:
    try:
        return _Reply(_convert(request))
    except CamfleetError as error:
        return _Reply(False, ErrorInfo(code=error.code, message=error.message))
    except Exception as error:  # noqa: BLE001  # the worker reports it, whatever it is
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        message = f"loading model {request.card.id} broke: {reason}"
        return _Reply(False, ErrorInfo(code=InternalError.code, message=message))


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a worker that shuts down waits for this to finish
    request = pickle.load(sys.stdin.buffer)  # noqa: S301  # from ourselves
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(_reply(request)))


if __name__ == "__main__":
    _main()
