"""A job's pictures as files that one can open: fetched, drawn anew, in a gallery."""
