"""Questions to workers that somebody waits for."""
