"""Members of a running cluster: one command a file."""
