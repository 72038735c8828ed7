"""Run by the Python of CVAT's SDK: answers each code of a mask with runs of its pixels, by rows."""

import json
import sys

import numpy as np
from cvat_sdk.masks import decode_mask

for line in sys.stdin:
    asked = json.loads(line)
    height, width = asked["size"]
    flat = decode_mask(asked["code"], image_width=width, image_height=height).ravel().astype(int)
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, len(flat))
    runs = np.stack((flat[ends - 1], np.diff(ends, prepend=0)), axis=1)
    sys.stdout.write(json.dumps(runs.ravel().tolist()) + "\n")
    sys.stdout.flush()
