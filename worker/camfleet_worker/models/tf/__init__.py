"""What needs TensorFlow or Keras; loaded when a model must be cut, converted or differentiated."""
