"""Who may do what, and how much of it at a time: tokens, owners, limits, turns, connections."""
