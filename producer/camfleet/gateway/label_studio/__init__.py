"""Label Studio's ML backend: what it asks of one, answered by workers."""
