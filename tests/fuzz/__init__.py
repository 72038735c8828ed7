"""Hostile input made at random: a minute of it in `make test`, an hour in `make fuzz`."""
