"""Run by the Python of Label Studio's SDK: answers each brush with runs of its alphas, by rows."""

import json
import sys

import numpy as np
from label_studio_sdk.converter.brush import decode_rle

for line in sys.stdin:
    asked = json.loads(line)
    pixels = np.reshape(decode_rle(asked["code"]), (-1, 4))
    assert (pixels == pixels[:, :1]).all()
    flat = pixels[:, 3].astype(int)
    assert len(flat) == asked["size"][0] * asked["size"][1]
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, len(flat))
    runs = np.stack((flat[ends - 1], np.diff(ends, prepend=0)), axis=1)
    sys.stdout.write(json.dumps(runs.ravel().tolist()) + "\n")
    sys.stdout.flush()
