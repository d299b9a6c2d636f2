"""Snapshots: one command a file."""
