"""A spec with an identity, and what follows from both."""
