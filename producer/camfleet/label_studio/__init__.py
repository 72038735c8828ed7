"""Label Studio: its API, and what of its tasks workers may read."""
