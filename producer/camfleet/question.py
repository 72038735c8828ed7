"""What a job asks of every image, in the words of `Client.submit`."""

from typing import Any, TypedDict

from camfleet.contract import DEFAULT_OUTPUTS, Fuse, Method, Outputs


class Question(TypedDict, total=False):
    """Keywords of a job; what is left out is as in `DEFAULT_QUESTION`.

    `target` and `layer` are as in `camfleet.expressions`; `fuse` says how the maps of several
    layers become one (None: as the card says); `callback` is an http(s) URL that is told of the
    job's end.
    """

    target: str
    method: Method
    layer: str
    fuse: Fuse | None
    outputs: Outputs
    callback: str | None


DEFAULT_QUESTION: dict[str, Any] = {
    "target": "top",
    "method": "gradcam",
    "layer": "auto",
    "fuse": None,
    "outputs": DEFAULT_OUTPUTS,
    "callback": None,
}
