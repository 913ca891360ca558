"""Reads and writes manifests as p2 does."""
