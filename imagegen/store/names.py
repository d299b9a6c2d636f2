"""The names of the files in a store."""

from __future__ import annotations

RECORD = "cluster.json"
CRL = "client-crl.pem"
ROTATION = "rotation.json"
ROTATION_CA = "rotation-ca"
CURRENT = "current"
GENERATIONS = "generations"
#: Being written; whatever is found here was interrupted and never current.
UNFINISHED = ".unfinished"
NEW_RECORD = f".{RECORD}.new"
