"""A job's report: tallies, suspicious places, its numbers and its page."""
