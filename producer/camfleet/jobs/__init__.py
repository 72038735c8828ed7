"""Jobs from the producer's side: submit, follow, resume, retry, verify."""
