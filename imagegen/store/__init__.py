"""``pki/<cluster>/``: credentials, and the record of the bootstrap."""
