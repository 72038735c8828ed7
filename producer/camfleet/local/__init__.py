"""The local stack: real servers and a worker as child processes. Knows errors and settings only."""
