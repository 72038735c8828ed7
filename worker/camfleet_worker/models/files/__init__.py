"""Model files by strangers: read within bounds, and rebuilt from an allow-list before Keras."""
