"""The commands that serve a running cluster."""
