"""A model that isn't computed in bf16, whatever this machine's CPU can do."""

import json

from camfleet.jobstore import keys

REFUSED = "a map moves by 0.4 bits, allowed is 0.01 bits"


def refuse_bf16(storage, model):
    """Let the report of a model that was just added say that bf16 costs it too much."""
    place = keys.report(model.digest)
    report = json.loads(storage.get(place).data)
    report["bf16"] = {"reason": REFUSED, "refused": REFUSED}
    storage.put(place, json.dumps(report).encode(), "application/json")
