"""Reviews from Python and the terminal: create, run, accept, and what there is of them."""
