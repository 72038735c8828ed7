"""Models converted once: in a process of their own, kept on disk, shared in the bucket."""
