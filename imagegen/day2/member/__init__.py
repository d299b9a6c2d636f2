"""Who belongs to a running cluster: one verb a file."""
