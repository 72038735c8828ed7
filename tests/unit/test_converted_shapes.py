"""A converted model whose sizes follow from values is refused: a picture would decide them."""

import numpy as np
import openvino as ov
import openvino.opset13 as op
import pytest

from camfleet_worker.models.openvino_graph import check_shapes


def network(end):
    image = op.parameter([-1, 8, 8, 3], np.float32, name="images")
    mean = op.reduce_mean(image, op.constant(np.array([1, 2], np.int64)), False)
    return ov.Model([op.add(mean, end(image))], [image])


def plain(image):
    return op.reduce_max(image, op.constant(np.array([1, 2], np.int64)), False)


def as_many_as_it_says(image):
    total = op.reduce_mean(image, op.constant(np.array([0, 1, 2, 3], np.int64)), False)
    count = op.convert(op.multiply(total, op.constant(np.float32(1e9))), "i64")
    shape = op.reshape(count, op.constant(np.array([1], np.int64)), False)
    many = op.broadcast(total, shape)
    return op.reduce_mean(many, op.constant(np.array([0], np.int64)), False)


def test_sizes_that_follow_from_the_inputs_are_fine():
    check_shapes(network(plain))


def test_sizes_that_follow_from_values_are_refused_by_the_operation():
    with pytest.raises(ValueError, match="Broadcast is as large as values make it"):
        check_shapes(network(as_many_as_it_says))
