"""The names of the files in a store; what they hold is told in :mod:`imagegen.store.store`."""

from __future__ import annotations

from pathlib import Path

from imagegen.base.files import unfinished
from imagegen.pki.leaves import Role
from imagegen.pki.model import ONE_CA
from imagegen.pki.pem import certificate_file

RECORD = "cluster.json"
CRL = "client-crl.pem"
ROTATION = "rotation.json"
#: The CA that does not sign during a rotation, as a pair of files.
ROTATION_CA = "rotation-ca"
MEMBERS = "members"
CLIENTS = "clients"

CURRENT = "current"
GENERATIONS = "generations"
LOCK = ".lock"
#: Being written; whatever is found here was interrupted and never current.
UNFINISHED = ".unfinished"
NEW_RECORD = unfinished(Path(RECORD)).name


def member_pair(member: str, role: Role) -> str:
    """The name of a member's pair of files for a role of :attr:`imagegen.pki.model.Pki.roles`."""
    return f"{MEMBERS}/{member}/{role}"


def client_pair(client: str) -> str:
    """The name of a client's pair of files."""
    return f"{CLIENTS}/{client}"


def has_one_ca(folder: Path) -> bool:
    """Whether the files of a store are those of a PKI with one CA."""
    return (folder / certificate_file(ONE_CA)).exists()
