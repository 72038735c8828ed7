"""Studies from a job's side: which rows to ask workers about, and what their answers add up to."""
