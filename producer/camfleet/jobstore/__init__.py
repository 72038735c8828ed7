"""A job as it lies in the bucket: the truth."""
