"""Bytes: encodings, and images that hold files."""
