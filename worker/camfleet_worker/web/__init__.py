"""HTTP that can't be led into the private network."""
