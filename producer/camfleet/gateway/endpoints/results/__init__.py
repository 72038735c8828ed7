"""What became of a job: rows, pictures, reports, comparisons and exports."""
