"""Requests to workers that somebody waits for: answers, checks, and adding a model."""
