"""Artifacts: gathered, described in a manifest, and put in place whole."""
