"""Exactly once: a chunk's lease, its run, its count, and what becomes of a dead worker's chunks."""
