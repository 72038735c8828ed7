"""Old model files, rebuilt in Keras 3 by `camfleet models convert`."""
