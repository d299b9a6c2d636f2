"""The certificates of a store: which there are, when they end, and what etcd would mind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from imagegen.base.instants import format_instant
from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.build.manifest import read_manifest
from imagegen.cluster.cluster import Cluster
from imagegen.documents.names import CLIENT
from imagegen.pki.faults import SOON, check_credential
from imagegen.pki.leaves import DEFAULT_CLIENT, Role, client_leaves, member_leaves
from imagegen.pki.model import CLIENT_CA, ONE_CA, Credential, Pki
from imagegen.pki.pem import certificates_in, common_name_of, revoked_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One certificate of a store."""

    kind: str
    owner: str
    role: str
    common_name: str
    serial: int
    issuer: str
    not_after: datetime
    days_left: int
    #: Since when it is revoked.
    revoked: datetime | None
    #: Whether the last build has put this very one into its output; None if unknown.
    in_output: bool | None

    @property
    def name(self) -> str:
        """What it is called on the command line, and in the store."""
        return self.owner if self.kind == self.role else f"{self.owner} {self.role}"

    def to_json(self) -> dict[str, Any]:
        """As ``certs list --json`` prints it."""
        return {
            "kind": self.kind,
            "owner": self.owner,
            "role": self.role,
            "common_name": self.common_name,
            "serial": f"{self.serial:x}",
            "issuer": self.issuer,
            "not_after": format_instant(self.not_after),
            "days_left": self.days_left,
            "revoked": format_instant(self.revoked) if self.revoked else None,
            "in_output": self.in_output,
        }

    def problems(self) -> Iterator[Problem]:
        """That it ends soon, or has ended; nobody waits for one that is revoked."""
        if self.revoked or self.days_left >= SOON.days:
            return
        ends = "has ended" if self.days_left < 0 else f"ends in {self.days_left} days"
        how = "rotate-ca" if self.kind == "ca" else "renew"
        yield Problem(
            where=self.name,
            what=f"{ends}, on {self.not_after:%Y-%m-%d}",
            hint=f"imagegen certs {how}",
            severity=Severity.WARNING,
        )


def list_certificates(pki: Pki, *, now: datetime, output: Path | None = None) -> list[Listed]:
    """Every certificate of the store: CAs, then members', then clients'.

    ``output`` is the cluster's directory of a build, to compare with.

    Raises:
        ImagegenError: a certificate, or the manifest there, cannot be read.
    """
    built = _built(output) if output else None
    revoked = revoked_in(pki.crl_pem)
    listed = []
    for kind, owner, role, pem in _certificates(pki):
        try:
            certificates = certificates_in(pem)
        except ValueError as error:
            raise ImagegenError(
                str(error), where=f"{owner} {role}", hint="restore the store from a backup"
            ) from None
        # A CA's file may hold further CAs to trust; a leaf's, only its chain.
        for certificate in certificates if kind == "ca" else certificates[:1]:
            serial, end = certificate.serial_number, certificate.not_valid_after_utc
            known = built is not None and (role, owner) in built
            listed.append(
                Listed(
                    kind=kind,
                    owner=owner,
                    role=role,
                    common_name=common_name_of(certificate),
                    serial=serial,
                    issuer=certificate.issuer.rfc4514_string(),
                    not_after=end,
                    days_left=(end - now) // timedelta(days=1),
                    revoked=revoked.get(serial) if kind != "ca" else None,
                    in_output=serial in built[role, owner] if built and known else None,
                )
            )
    return listed


def _certificates(pki: Pki) -> Iterator[tuple[str, str, str, str]]:
    """Kind, owner, role and PEM text of everything in the store."""
    for authority in pki.authorities:
        yield "ca", authority.name, "ca", authority.certificate_pem
    for name, member in pki.members.items():
        for role in pki.roles:
            yield "member", name, role, member.of(role).certificate_pem
    for name, client in clients_of(pki).items():
        yield "client", name, Role.CLIENT, client.certificate_pem


def clients_of(pki: Pki) -> dict[str, Credential]:
    """All clients' credentials; the default one is called ``client``."""
    return ({DEFAULT_CLIENT: pki.client} if pki.client else {}) | dict(pki.clients)


def _built(directory: Path) -> Mapping[tuple[str, str], set[int]]:
    """Serials in a build's output, by role and owner."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ImagegenError(
            "holds no build of this cluster", where=str(directory), hint="imagegen build"
        )
    found: dict[tuple[str, str], set[int]] = {}
    try:
        for member in manifest["members"]:
            for entry in member["certificates"]:
                role = Role.MEMBER if entry["role"] == "server and peer" else entry["role"]
                found[role, member["name"]] = {int(entry["serial"], 16)}
        for client in manifest["clients"]:
            found[Role.CLIENT, client["name"]] = {int(client["serial"], 16)}
        authorities = certificates_in((directory / CLIENT / "ca.pem").read_text(encoding="ascii"))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ImagegenError(
            f"cannot be read as the output of a build: {error}",
            where=str(directory),
            hint="build the cluster anew with --force",
        ) from None
    serials = {certificate.serial_number for certificate in authorities}
    for name in (ONE_CA, CLIENT_CA):
        found["ca", name] = serials
    return found


def faults(cluster: Cluster, old: Pki, new: Pki, now: datetime) -> Iterator[Problem]:
    """What etcd would mind about certificates that were not there before."""
    before = set(_leaf_pems(old))
    leaves = [
        (leaf, _credential_of(new, leaf.role, leaf.owner))
        for leaf in (
            *(leaf for member in cluster.members for leaf in member_leaves(cluster, member)),
            *client_leaves(cluster),
        )
    ]
    for leaf, credential in leaves:
        if credential is None or credential.certificate_pem in before:
            continue
        yield from check_credential(
            credential,
            leaf,
            ca_pem=new.authority_of(leaf.role).certificate_pem,
            now=now,
            where=str(leaf),
            remedy="no leaf outlives its CA: imagegen certs rotate-ca",
        )


def _credential_of(pki: Pki, role: Role, owner: str) -> Credential | None:
    if role is Role.CLIENT:
        return clients_of(pki).get(owner)
    return pki.members[owner].of(role)


def _leaf_pems(pki: Pki) -> Iterator[str]:
    return (pem for kind, _, _, pem in _certificates(pki) if kind != "ca")
