"""Models converted once: in a subprocess, then kept on disk and shared through the bucket."""
