"""Old model files rebuilt in Keras 3: `camfleet models convert`."""
