"""Changing a running cluster: one verb a file."""
