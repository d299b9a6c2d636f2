"""Templates: one command a file."""
