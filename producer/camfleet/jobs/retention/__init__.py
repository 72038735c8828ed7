"""What goes: jobs and their results, and what no job needs any more."""
