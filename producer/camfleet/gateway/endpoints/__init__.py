"""What is served: a module per group of endpoints, each with its routes."""
