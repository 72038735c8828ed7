"""camfleet's worker: loads Keras models, computes class activation maps, writes heatmaps."""
