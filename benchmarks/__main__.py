"""`make bench [ONLY=speed]`: each benchmark prints one JSON object a line."""

import json
import os
import sys
from importlib import import_module

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

MODULES = (
    "speed",
    "precision",
    "peers",
    "load",
    "end_to_end",
    "packed",
    "interactive",
    "gateway",
    "cold_start",
    "memory",
    "recovery",
    "feed",
    "scale",
    "scaling",
    "localisation",
    "ledger",
    "submit",
    "audits",
    "gallery",
    "exports",
    "annotation",
    "faithfulness",
)


def main() -> None:
    for name in sys.argv[1:] or MODULES:
        for result in import_module(f"benchmarks.{name}").benchmarks():
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
