"""What a worker process is set up with: libraries, logs, signals, admission of messages."""
