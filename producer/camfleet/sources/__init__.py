"""Folders, globs, prefixes and manifests: anything becomes a stream of items."""
