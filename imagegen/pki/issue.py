"""Every certificate and key of a cluster: which there are, and issuing them.

Pure: the stored credentials, the brought ones, passphrase and time come in as
values, and a whole :class:`Pki` goes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509

from imagegen.base.problems import Problem, Severity, raise_errors
from imagegen.cluster.cluster import Cluster
from imagegen.pki.faults import date_faults, misfits
from imagegen.pki.leaves import DEFAULT_CLIENT, Leaf, Role, client_leaves, member_leaves
from imagegen.pki.model import (
    CLIENT_CA,
    ONE_CA,
    PEER_CA,
    CertificateAuthority,
    Credential,
    Imported,
    MemberCredentials,
    Pki,
    Renewal,
    members_common_name,
)
from imagegen.pki.pem import (
    KEY_MAKERS,
    PrivateKey,
    algorithm_of,
    certificates_in,
    key_pem,
    private_key_in,
    revoked_in,
)
from imagegen.pki.sign import Signer, new_authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The credentials of a cluster, and what was done to have them."""

    pki: Pki
    notes: tuple[str, ...]
    warnings: tuple[Problem, ...]

    @property
    def changed(self) -> bool:
        """Whether anything differs from what was stored."""
        return bool(self.notes)


def issue_pki(
    cluster: Cluster,
    *,
    stored: Pki | None,
    imported: Imported | None = None,
    now: datetime,
    reissue: bool = False,
    renewal: Renewal | None = None,
    passphrase: bytes | None = None,
) -> Issued:
    """Every credential the cluster needs: stored ones that fit, brought ones, new ones.

    A stored certificate that fits is kept byte for byte. One that does not is
    an error, or with ``reissue`` signed anew for the same key. Nothing makes a
    second CA where there is a stored one, and no key is replaced but to follow
    a changed ``pki.algorithm``, a revocation, or a renewal that asks for it.
    With ``renewal`` only its leaves are signed; what does not fit is a warning.

    Raises:
        ProblemsError: stored certificates do not fit, each with its reasons.
        ImagegenError: the CA's key is needed and missing, or stays shut.
    """
    brought = imported or Imported()
    return _Issuing(cluster, stored, brought, now, reissue, passphrase, renewal).run()


@dataclass(slots=True)
class _Slot:
    """A place for one credential, and what is there for it so far."""

    leaf: Leaf
    authority: Signer
    stored: Credential | None
    brought: Credential | None
    #: Why the stored one cannot stay; nothing is signed before all are known.
    reasons: list[str] = field(default_factory=list)
    #: Its key, unless a new one is needed.
    key: PrivateKey | None = None


class _Issuing:
    """One run of :func:`issue_pki`: find out everything first, then sign."""

    def __init__(
        self,
        cluster: Cluster,
        stored: Pki | None,
        imported: Imported,
        now: datetime,
        reissue: bool,
        passphrase: bytes | None,
        renewal: Renewal | None = None,
    ) -> None:
        self.cluster = cluster
        self.plan = cluster.spec.pki
        self.stored = stored
        self.imported = imported
        self.now = now.replace(microsecond=0)  # a certificate counts whole seconds
        self.reissue = reissue
        self.passphrase = passphrase
        self.renewal = renewal
        self.revoked = revoked_in(stored.crl_pem if stored else None)
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        # Left over from layout shared, where all members had one.
        owners = Counter(
            key
            for member in (stored.members.values() if stored else ())
            for key in {member.server.key_pem, member.peer.key_pem}
        )
        self.shared_keys = {key for key, count in owners.items() if count > 1}

    def run(self) -> Issued:
        self.check_layout()
        self.check_names()
        raise_errors(self.problems)
        brought, stored = self.imported, self.stored
        first, second = (stored.ca, stored.peer_ca) if stored else (None, None)
        if self.cluster.one_credential:
            ca = peer_ca = self.authority(ONE_CA, brought.ca, first)
        else:
            ca = self.authority(CLIENT_CA, brought.ca, first)
            peer_ca = self.authority(PEER_CA, brought.peer_ca, second)
        slots = list(self.slots(ca, peer_ca))
        for slot in slots:
            if slot.brought:
                self.check_brought(slot, slot.brought)
            elif slot.stored:
                self.examine(slot, slot.stored)
        raise_errors(self.problems)
        done = {(slot.leaf.role, slot.leaf.owner): self.fill(slot) for slot in slots}
        return self.issued(ca, peer_ca, done)

    def check_layout(self) -> None:
        if self.stored is None:
            return
        one_ca = self.stored.one_ca
        if one_ca != self.cluster.one_credential:
            self.problems.append(
                Problem(
                    where="pki.layout",
                    what=f"{self.plan.layout} has {'two CAs' if one_ca else 'one CA'}, "
                    f"and the store holds {'one' if one_ca else 'two'}",
                    hint="set it back, or make another PKI with another --pki",
                )
            )

    def check_names(self) -> None:
        """No client is called what a member is: etcd goes by the common name."""
        cluster = self.cluster
        members = {
            leaf.common_name
            for member in cluster.members
            if member.name not in self.imported.members
            for leaf in member_leaves(cluster, member)
        }
        if "root" in members:
            self.problems.append(
                Problem(
                    where="cluster" if cluster.one_credential else "members",
                    what="root would be the name in a member's certificate",
                    hint="etcd's superuser is called so: choose another name",
                )
            )
        for leaf in client_leaves(cluster):
            if leaf.common_name in members:
                self.problems.append(
                    Problem(
                        where=f"client {leaf.owner}",
                        what=f"{leaf.common_name} is the name in the members' certificates",
                        hint="give it another common_name: etcd tells callers apart by it",
                    )
                )

    def authority(
        self,
        name: str,
        brought: CertificateAuthority | None,
        stored: CertificateAuthority | None,
    ) -> Signer:
        if brought is not None:
            return self.brought_authority(replace(brought, name=name), stored)
        if stored is not None:
            found = Signer(stored, self.passphrase)
            hint = "no leaf outlives its CA: make another PKI with another --pki"
            faults = date_faults(found.certificate, self.now, hint)
            self.problems += (replace(fault, where=name) for fault in faults)
            return found
        self.notes.append(f"{name}: new, {self.plan.algorithm}, for {self.plan.ca_days} days")
        made = new_authority(
            name,
            cluster=self.cluster.name,
            algorithm=self.plan.algorithm,
            days=self.plan.ca_days,
            now=self.now,
            passphrase=self.passphrase,
        )
        return Signer(made, self.passphrase)

    def brought_authority(
        self, brought: CertificateAuthority, stored: CertificateAuthority | None
    ) -> Signer:
        """The operator's CA. Its key signs here and stays where it is: never copied."""
        found = Signer(brought, self.passphrase)
        kept = replace(brought, key_pem=None)
        if stored is None:
            self.notes.append(f"{brought.name}: taken from pki.imports")
        elif _same_authority(found.certificate, Signer(stored, None).certificate):
            kept = replace(kept, key_pem=stored.key_pem)
            found.authority = replace(brought, key_pem=brought.key_pem or stored.key_pem)
        elif not self.reissue:
            self.problems.append(
                Problem(
                    where="pki.imports",
                    what=f"{brought.name} is not the CA that signed the stored certificates",
                    hint="members trust only the CA they have; with --reissue all certificates "
                    "are signed anew, for all members at once",
                )
            )
        if stored is not None and stored.certificate_pem != brought.certificate_pem:
            self.notes.append(f"{brought.name}: replaced by the one from pki.imports")
        found.kept = kept
        return found

    def slots(self, ca: Signer, peer_ca: Signer) -> Iterator[_Slot]:
        brought, stored = self.imported, self.stored
        for member in self.cluster.members:
            ours = stored.members.get(member.name) if stored else None
            theirs = brought.members.get(member.name)
            for leaf in member_leaves(self.cluster, member):
                yield _Slot(
                    leaf,
                    peer_ca if leaf.role is Role.PEER else ca,
                    ours.of(leaf.role) if ours else None,
                    theirs.of(leaf.role) if theirs else None,
                )
        default, *named = client_leaves(self.cluster)
        client = stored.client if stored else None
        if client or brought.client or ca.authority.key_pem:
            yield _Slot(default, ca, client, brought.client)
        else:
            self.problems.append(
                Problem(
                    where="pki.imports",
                    what="there is no client certificate, and no CA key to sign one",
                    hint="bring one with imports.client",
                    severity=Severity.WARNING,
                )
            )
        for leaf in named:
            yield _Slot(leaf, ca, stored.clients.get(leaf.owner) if stored else None, None)

    def check_brought(self, slot: _Slot, brought: Credential) -> None:
        """The operator may not bring back what was revoked."""
        if certificates_in(brought.certificate_pem)[0].serial_number in self.revoked:
            self.problems.append(
                Problem(
                    where=str(slot.leaf),
                    what="the one in pki.imports is revoked",
                    hint="bring another, or leave it out to have one signed",
                )
            )

    def examine(self, slot: _Slot, stored: Credential) -> None:
        """Find out whether the stored credential may stay."""
        leaf, where = slot.leaf, str(slot.leaf)
        renewal = self.renewal
        renewed = renewal is not None and (leaf.role, leaf.owner) in renewal.leaves
        try:
            slot.key = private_key_in(stored.key_pem)
        except ValueError as error:
            # Not for --reissue to mend: it would have to replace a key.
            self.problems.append(
                Problem(
                    where=where,
                    what=f"its key file {error}",
                    hint="restore the store from a backup, or an older generation in it",
                )
            )
            return
        try:
            certificate = certificates_in(stored.certificate_pem)[0]
        except ValueError as error:
            slot.reasons.append(f"its file {error}")
        else:
            if certificate.serial_number in self.revoked:
                # Whoever has it must not get a new one for the key they have.
                slot.reasons.append("the one before is revoked")
                slot.key = None
                return
            slot.reasons += misfits(
                certificate,
                slot.key,
                leaf,
                slot.authority.certificate,
                self.plan.algorithm,
                self.now,
            )
            if renewed:
                slot.reasons.append("renewed")
            if not slot.reasons:
                self.examine_end(slot, certificate)
        shared = stored.key_pem in self.shared_keys
        if shared:
            slot.reasons.append("its key is another member's too")
        if self.reissue or renewed:
            other = algorithm_of(slot.key.public_key()) != self.plan.algorithm
            if shared or other or (renewal is not None and renewal.new_keys):
                slot.key = None
            return
        self.problems += (
            Problem(
                where=where,
                what=reason,
                hint="pass --reissue to sign a new certificate",
                severity=Severity.WARNING if renewal else Severity.ERROR,
            )
            for reason in slot.reasons
        )
        if renewal:
            slot.reasons = []

    def examine_end(self, slot: _Slot, certificate: x509.Certificate) -> None:
        """A leaf that fits but ends soon: renew it if asked and if that gains time."""
        end = certificate.not_valid_after_utc
        for fault in date_faults(certificate, self.now, "pass --reissue to sign a new one"):
            if self.reissue and slot.authority.end_of(slot.leaf, self.now) > end:
                slot.reasons.append(fault.what)
            else:
                self.problems.append(replace(fault, where=str(slot.leaf)))

    def fill(self, slot: _Slot) -> Credential:
        """The credential for a slot, signed now if need be."""
        leaf = slot.leaf
        if slot.brought:
            if slot.brought != slot.stored:
                self.notes.append(f"{leaf}: taken from pki.imports")
            return slot.brought
        if slot.stored and not slot.reasons:
            return slot.stored
        if slot.stored is None:
            done = "new"
        else:
            done = "signed anew for the same key" if slot.key else "new key and certificate"
        key = slot.key or KEY_MAKERS[self.plan.algorithm]()
        certificate_pem = slot.authority.sign(leaf, key, self.now)
        end = slot.authority.end_of(leaf, self.now)
        why = "; ".join(slot.reasons) or f"until {end:%Y-%m-%d}"
        self.notes.append(f"{leaf}: {done}: {why}")
        # Signed anew, the key stays in the very bytes the operator knows.
        text = slot.stored.key_pem if slot.stored and slot.key else key_pem(key)
        return Credential(certificate_pem=certificate_pem, key_pem=text)

    def issued(
        self,
        ca: Signer,
        peer_ca: Signer,
        done: Mapping[tuple[Role, str], Credential],
    ) -> Issued:
        members = {}
        for member in self.cluster.members:
            both = done.get((Role.MEMBER, member.name))
            members[member.name] = MemberCredentials(
                server=both or done[Role.SERVER, member.name],
                peer=both or done[Role.PEER, member.name],
            )
        clients = {owner: item for (role, owner), item in done.items() if role is Role.CLIENT}
        name = None
        if self.cluster.one_credential:
            # A client that left the spec still has its certificate.
            former = self.stored.clients if self.stored else {}
            name = members_common_name(members, (*clients.values(), *former.values()))
            if name is None:
                self.problems.append(
                    Problem(
                        where="pki.imports",
                        what="the members' certificates have no common name of their own, so "
                        "every client certificate passes at the peer port too",
                        hint="sign them all with one name that no client has, or use layout "
                        "separate",
                        severity=Severity.WARNING,
                    )
                )
        pki = Pki(
            ca=ca.kept,
            peer_ca=peer_ca.kept,
            members=members,
            client=clients.pop(DEFAULT_CLIENT, None),
            clients=clients,
            peer_common_name=name,
            crl_pem=self.stored.crl_pem if self.stored else None,
            rotation=self.stored.rotation if self.stored else None,
        )
        return Issued(pki=pki, notes=tuple(self.notes), warnings=tuple(self.problems))


def _same_authority(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether leaves of the one pass as leaves of the other: a renewed CA keeps name and key."""
    return one.subject == other.subject and one.public_key() == other.public_key()
