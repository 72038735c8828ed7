"""What follows a job's end by itself: the report that was asked for."""
