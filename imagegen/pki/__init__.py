"""Certificates and keys: judging, issuing and bringing them."""
