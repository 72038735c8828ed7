"""A job's rows: read, filtered, written as files."""
