"""Golden images: one command a file."""
