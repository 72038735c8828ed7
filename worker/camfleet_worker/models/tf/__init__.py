"""What needs TensorFlow or Keras; loaded only to cut, convert or differentiate a model."""
