"""Why a library failed, in a few of its own words."""

import pytest
import tensorflow as tf

from camfleet_worker.models.reasons import reason_of


def test_a_traced_functions_lines_of_source_are_left_out():
    @tf.function
    def reshaped(values):
        return tf.reshape(values, (7,))

    with pytest.raises(ValueError, match="in user code") as caught:
        reshaped(tf.ones((2, 3)))
    said = reason_of(caught.value)
    assert said.startswith("ValueError: Cannot reshape")
    assert "File" not in said


def test_names_of_nodes_are_left_out():
    with pytest.raises(tf.errors.InvalidArgumentError, match="function_node") as caught:
        tf.reshape(tf.ones(3), (2,))
    assert reason_of(caught.value).startswith("Input to reshape")
