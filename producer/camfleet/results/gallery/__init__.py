"""An index of a job's rows, by which any page of them is found, filtered and sorted, at once."""
