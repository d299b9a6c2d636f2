"""The operator's own certificates: read from files, checked, and put into one form.

Two kinds come in: a CA that signs our leaves, and ready-made certificates as
the lab makes them with cfssl. Whatever their spelling (PKCS#8, SEC1, PKCS#1,
with text between the blocks), they go on as plain PEM, keys as PKCS#8.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from imagegen.base.problems import Problem, Severity
from imagegen.cluster.cluster import Cluster, Identity
from imagegen.pki.faults import check_authority, check_leaf
from imagegen.pki.leaves import Leaf, Role, client_leaves, member_leaves
from imagegen.pki.model import CertificateAuthority, Credential, Imported, MemberCredentials
from imagegen.pki.pem import (
    PrivateKey,
    certificates_in,
    certificates_pem,
    common_name_of,
    is_encrypted,
    key_pem,
    private_key_in,
)
from imagegen.spec.model import ImportedCa, ImportedCredential, Spec

__all__ = ["Imported", "read_imports"]

#: A certificate with its whole chain is a tenth of it.
LARGEST_FILE = 64 * 1024


def read_imports(
    spec: Spec, folder: Path, *, now: datetime, passphrase: bytes | None = None
) -> tuple[Imported | None, tuple[Problem, ...]]:
    """What the spec imports, and every problem with it; None if it imports nothing.

    File names are relative to ``folder``, the spec's own. With an error among
    the problems, what is returned is not complete.
    """
    if spec.pki.imports is None:
        return None, ()
    reading = _Reading(spec, folder, now, passphrase)
    return reading.imported(), tuple(reading.problems)


class _Reading:
    def __init__(self, spec: Spec, folder: Path, now: datetime, passphrase: bytes | None) -> None:
        # Which names a certificate must carry has nothing to do with identity.
        identity = Identity(store_id="", token="", created=now)
        self.cluster = Cluster(spec=spec, identity=identity)
        self.folder = folder
        self.now = now
        self.passphrase = passphrase
        self.problems: list[Problem] = []

    def imported(self) -> Imported:
        given = self.cluster.spec.pki.imports
        assert given is not None  # for mypy: read_imports asked
        ca = self.authority("ca", given.ca, given.ca_certificate)
        peer_ca = self.authority("peer_ca", given.peer_ca, given.peer_ca_certificate)
        client = None
        if given.client:
            default, *_ = client_leaves(self.cluster)
            client = self.credential("client", given.client, default, ca)
        return Imported(ca=ca, peer_ca=peer_ca, members=self.members(ca, peer_ca), client=client)

    def members(
        self, ca: CertificateAuthority | None, peer_ca: CertificateAuthority | None
    ) -> dict[str, MemberCredentials]:
        given = self.cluster.spec.pki.imports
        assert given is not None  # for mypy, as above
        members = self.cluster.members
        if given.shared:
            leaf = self.shared_leaf()
            pair = self.credential("shared", given.shared, leaf, ca)
            both = pair and MemberCredentials(server=pair, peer=pair)
            return {member.name: both for member in members} if both else {}
        found = {}
        for member in members:
            if member.name not in given.members:
                continue
            files, setting = given.members[member.name], f"members.{member.name}"
            leaf, *second = member_leaves(self.cluster, member)
            server = peer = self.credential(f"{setting}.server", files.server, leaf, ca)
            if second and files.peer:
                peer = self.credential(f"{setting}.peer", files.peer, second[0], peer_ca)
            if server and peer:
                found[member.name] = MemberCredentials(server=server, peer=peer)
        self.check_own_keys(found)
        return found

    def shared_leaf(self) -> Leaf:
        """What the one pair of all members must say: everything that each of theirs would."""
        leaves = [leaf for m in self.cluster.members for leaf in member_leaves(self.cluster, m)]
        return replace(
            leaves[0],
            sans=tuple(dict.fromkeys(san for leaf in leaves for san in leaf.sans)),
            needed=frozenset(san for leaf in leaves for san in leaf.needed),
        )

    def check_own_keys(self, found: dict[str, MemberCredentials]) -> None:
        """Each member has keys of its own, unless the operator has said otherwise."""
        first: dict[str, str] = {}
        for name, credentials in found.items():
            for key in {credentials.server.key_pem, credentials.peer.key_pem}:
                owner = first.setdefault(key, name)
                if owner != name:
                    self.error(
                        f"pki.imports.members.{name}",
                        f"has the same private key as {owner}",
                        "give each member its own, or accept one key for all with "
                        "layout: shared and allow_shared_key: true",
                    )

    def authority(
        self, setting: str, given: ImportedCa | None, certificate: str | None
    ) -> CertificateAuthority | None:
        """A CA: with its key, to sign with, or the bare certificate behind ready-made ones."""
        key_text = key = None
        if given is not None:
            where = f"pki.imports.{setting}.certificate ({given.certificate})"
            text = self.text(given.certificate, where)
            key_where = f"pki.imports.{setting}.key ({given.key})"
            key_text = self.text(given.key, key_where)
            # An encrypted key is opened, and compared, once something must be signed.
            if key_text is not None and not (is_encrypted(key_text) and self.passphrase is None):
                key = self.key(key_text, key_where)
        elif certificate is not None:
            where = f"pki.imports.{setting}_certificate ({certificate})"
            text = self.text(certificate, where)
        else:
            return None
        if text is None:
            return None
        try:
            chain = certificates_in(text)
        except ValueError as error:
            self.error(where, str(error), "bring the CA's certificate as PEM")
            return None
        self.problems += check_authority(chain, key=key, now=self.now, where=where)
        return CertificateAuthority(
            name=setting, certificate_pem=certificates_pem(chain), key_pem=key_text
        )

    def credential(
        self,
        setting: str,
        given: ImportedCredential,
        leaf: Leaf,
        ca: CertificateAuthority | None,
    ) -> Credential | None:
        where = f"pki.imports.{setting}.certificate ({given.certificate})"
        key_where = f"pki.imports.{setting}.key ({given.key})"
        text, key_text = self.text(given.certificate, where), self.text(given.key, key_where)
        key = None
        if key_text is not None and is_encrypted(key_text):
            self.error(
                key_where,
                "is encrypted, and etcd cannot read it: nobody is there to type a passphrase",
                f"openssl pkey -in {given.key} -out plain-key.pem writes it unencrypted",
            )
        elif key_text is not None:
            key = self.key(key_text, key_where)
        if text is None:
            return None
        try:
            chain = certificates_in(text)
        except ValueError as error:
            self.error(where, str(error), "bring the certificate as PEM, the leaf first")
            return None
        self.problems += check_leaf(
            chain,
            leaf,
            key=key,
            roots=certificates_in(ca.certificate_pem) if ca else (),
            now=self.now,
            where=where,
            remedy="renew it where it was signed",
        )
        if leaf.role is not Role.CLIENT and common_name_of(chain[0]) == "root":
            self.problems.append(
                Problem(
                    where=where,
                    what="has the common name root, etcd's superuser",
                    hint="sign members' certificates with a name that no etcd user has",
                    severity=Severity.WARNING,
                )
            )
        if key is None:
            return None
        return Credential(certificate_pem=certificates_pem(chain), key_pem=key_pem(key))

    def key(self, text: str, where: str) -> PrivateKey | None:
        try:
            return private_key_in(text, self.passphrase)
        except ValueError as error:
            self.error(where, str(error), "bring a private key as PEM: PKCS#8, SEC1 or PKCS#1")
            return None

    def text(self, name: str, where: str) -> str | None:
        """A file's text; bytes that are none become marks that no PEM block holds."""
        try:
            data = _read(self.folder / name)
        except OSError as error:
            self.error(where, f"cannot be read: {error.strerror}", f"looked in {self.folder}")
            return None
        if data is None or len(data) > LARGEST_FILE:
            what = (
                "is not a regular file"
                if data is None
                else f"is larger than {LARGEST_FILE // 1024} KiB"
            )
            self.error(where, what, "name one PEM file")
            return None
        if b"-----BEGIN " not in data and data[:1] == b"\x30":
            hint = "convert it: openssl x509 (or pkey) -inform der -in FILE -out FILE.pem"
            self.error(where, "is DER, not PEM", hint)
            return None
        return data.decode("utf-8", errors="replace")

    def error(self, where: str, what: str, hint: str) -> None:
        self.problems.append(Problem(where=where, what=what, hint=hint))


def _read(path: Path) -> bytes | None:
    """A regular file's beginning, one byte more than allowed; None for anything else."""

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # a FIFO would wait for its writer

    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        return file.read(LARGEST_FILE + 1)
