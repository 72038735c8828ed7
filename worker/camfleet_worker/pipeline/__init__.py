"""Fetch, decode, explain, render, store, report: images on their way to their rows."""
