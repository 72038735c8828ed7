"""Answers of a whole job: what its maps say together, and how two of them differ."""
