"""OpenVINO itself: whether it's there, and how it's loaded."""

import logging
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

logger = logging.getLogger(__name__)


@cache
def library() -> Any:
    """Return the module `openvino`, without the converter that reports its import to Intel.

    Everything imported from `openvino.tools.ovc` sends usage data, so that package is blocked
    first, and OpenVINO treats it as not installed.
    """
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # blocks it
    import openvino

    return openvino


@cache
def is_usable() -> bool:
    """Return whether OpenVINO is installed and can be loaded, and log why if not."""
    if find_spec("openvino") is None:
        logger.warning("OpenVINO is not installed: camfleet's extra `cpu` makes CPUs faster")
        return False
    try:
        library()
    except Exception as error:  # noqa: BLE001  # whatever a broken installation raises
        logger.warning("OpenVINO can't be loaded, TensorFlow takes its place: %s", error)
        return False
    return True
