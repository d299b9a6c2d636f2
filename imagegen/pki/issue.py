"""Every certificate and key of a cluster: which there are, and issuing them.

Pure: the stored credentials, the brought ones, passphrase and time come in as
values, and a whole :class:`Pki` goes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from imagegen.base.problems import ImagegenError, Problem, Severity, raise_errors
from imagegen.cluster.cluster import Cluster, Member
from imagegen.pki.certificates import (
    BACKDATED,
    KEY_MAKERS,
    Credential,
    Leaf,
    PrivateKey,
    PublicKey,
    Role,
    San,
    algorithm_of,
    certificates_in,
    certificates_pem,
    common_name_of,
    date_faults,
    extension_of,
    is_encrypted,
    key_pem,
    misfits,
    private_key_in,
    revoked_in,
)

#: Longer, so that no leaf is older than its CA.
CA_BACKDATED = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """A CA by the name of its files: ``ca``, ``client-ca`` or ``peer-ca``.

    Its certificate may be followed by others that members are to trust as well:
    the first one signs.

    ``key_pem`` may be encrypted by a passphrase. It is None where the key is
    not ours to keep: a CA that the operator brings keeps its key where it is.
    """

    name: str
    certificate_pem: str
    key_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCredentials:
    """What a member shows at the client port and at the peer port.

    The same object twice where one credential serves both (``lab``, ``shared``).
    """

    server: Credential
    peer: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A CA on its way to another, in steps that overlap (:mod:`imagegen.day2.rotate_ca`).

    ``name`` is that of the CA's files. ``other`` is the CA that does not sign
    now: the new one in step 1, the old one after it.
    """

    name: str
    step: int
    other: CertificateAuthority


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Every certificate and key of one cluster.

    With one CA, ``peer_ca`` is ``ca`` itself, and ``peer_common_name`` is the
    name by which etcd tells members from clients at the peer port.

    ``crl_pem`` is the list of revoked client certificates; it only grows.
    """

    ca: CertificateAuthority
    peer_ca: CertificateAuthority
    members: Mapping[str, MemberCredentials]
    client: Credential | None = None
    clients: Mapping[str, Credential] = field(default_factory=dict)
    peer_common_name: str | None = None
    crl_pem: str | None = None
    rotation: Rotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """Leaves to sign anew although they fit, by role and owner; all others stay as they are."""

    leaves: frozenset[tuple[Role, str]]
    new_keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What the operator brings, read and checked by :mod:`imagegen.pki.imports`."""

    ca: CertificateAuthority | None = None
    peer_ca: CertificateAuthority | None = None
    members: Mapping[str, MemberCredentials] = field(default_factory=dict)
    client: Credential | None = None


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


# --- what each leaf must say ----------------------------------------------------------


def member_leaves(cluster: Cluster, member: Member) -> tuple[Leaf, ...]:
    """The member's server and peer leaf, or the one that is both."""
    plan = member.plan
    asked = {*plan.dns_names, *plan.extra_addresses}
    server_sans = (*member.server_names, *member.server_addresses)
    peer_sans = (*member.peer_names, *member.peer_addresses)
    server_needs = frozenset({member.client_address, *asked})
    # etcd compares a peer's certificate with the address it dials from.
    peer_needs = frozenset({*member.advertised_addresses, plan.address, *asked})
    leaf = partial(Leaf, owner=member.name, days=cluster.spec.pki.leaf_days)
    if cluster.one_credential:
        # One name for all members and for no client: with one CA it is all
        # that keeps clients from the peer port (ETCD_PEER_CERT_ALLOWED_CN).
        sans = tuple(dict.fromkeys((*server_sans, *peer_sans)))
        needed = server_needs | peer_needs
        name = cluster.name
        return (leaf(role=Role.MEMBER, common_name=name, sans=sans, needed=needed),)
    return (
        leaf(role=Role.SERVER, common_name=member.name, sans=server_sans, needed=server_needs),
        leaf(role=Role.PEER, common_name=member.name, sans=peer_sans, needed=peer_needs),
    )


def client_leaves(cluster: Cluster) -> tuple[Leaf, ...]:
    """The default client's leaf, then those of the spec's named clients."""
    days = cluster.spec.pki.leaf_days
    default = Leaf(owner="client", role=Role.CLIENT, common_name="client", days=days)
    named = (
        Leaf(
            owner=client.name,
            role=Role.CLIENT,
            common_name=client.common_name or client.name,
            days=client.days or days,
        )
        for client in cluster.spec.clients
    )
    return (default, *named)


# --- issuing --------------------------------------------------------------------------


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


class Signer:
    """A CA at work: parsed once, its key opened when something must be signed."""

    def __init__(self, authority: CertificateAuthority, passphrase: bytes | None) -> None:
        self.authority = authority
        #: As the store keeps it.
        self.kept = authority
        self._passphrase = passphrase
        try:
            self.certificate = certificates_in(authority.certificate_pem)[0]
        except ValueError as error:
            raise ImagegenError(
                f"{authority.name}.pem {error}", where="pki", hint="restore it from a backup"
            ) from None

    @cached_property
    def key(self) -> PrivateKey:
        """Its private key; ImagegenError if it is missing, shut, or another's."""
        name, text = self.authority.name, self.authority.key_pem
        if text is None:
            raise ImagegenError(
                f"{name} has to sign, and its key is not here",
                where="pki",
                hint=f"put {name}-key.pem back into the store, or bring it with pki.imports",
            )
        if is_encrypted(text) and not self._passphrase:
            raise ImagegenError(
                f"{name} has to sign, and its key is encrypted",
                where="pki",
                hint="give --ca-passphrase-file, or set IMAGEGEN_CA_PASSPHRASE",
            )
        try:
            key = private_key_in(text, self._passphrase)
        except ValueError as error:
            raise ImagegenError(f"{name}-key.pem {error}", where="pki") from None
        if key.public_key() != self.certificate.public_key():
            raise ImagegenError(
                f"{name}-key.pem does not belong to {name}.pem",
                where="pki",
                hint="restore both from the same backup",
            )
        return key

    @cached_property
    def identifier(self) -> x509.AuthorityKeyIdentifier:
        """What leaves say of who signed them."""
        own = extension_of(self.certificate, x509.SubjectKeyIdentifier)
        if own is None:
            key = self.certificate.public_key()
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)  # type: ignore[arg-type]  # a CA's key is one that signs
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def end_of(self, leaf: Leaf, now: datetime) -> datetime:
        """When a leaf signed now ends: never after its CA."""
        return min(now + timedelta(days=leaf.days), self.certificate.not_valid_after_utc)

    def sign(self, leaf: Leaf, key: PrivateKey, now: datetime) -> str:
        """A certificate for the key, as PEM text."""
        public = key.public_key()
        begin = max(now - BACKDATED, self.certificate.not_valid_before_utc)
        builder = (
            _builder(leaf.common_name, public, begin, self.end_of(leaf, now))
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_KEY_USAGE[isinstance(key, rsa.RSAPrivateKey)], critical=True)
            .add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
            .add_extension(self.identifier, critical=False)
        )
        if leaf.sans:
            names = x509.SubjectAlternativeName(map(_general_name, leaf.sans))
            builder = builder.add_extension(names, critical=False)
        return certificates_pem([builder.sign(self.key, digest_for(self.key))])


def new_authority(
    name: str,
    *,
    cluster: str,
    algorithm: str,
    days: int,
    now: datetime,
    number: int = 1,
    passphrase: bytes | None = None,
) -> CertificateAuthority:
    """A self-signed CA that may sign leaves, and no further CA; the ``number``-th of its name."""
    key = KEY_MAKERS[algorithm]()
    purpose = {"ca": "etcd CA", "client-ca": "etcd client CA", "peer-ca": "etcd peer CA"}[name]
    if number > 1:
        purpose += f" {number}"
    builder = _builder(
        purpose, key.public_key(), now - CA_BACKDATED, now + timedelta(days=days), cluster
    )
    certificate = (
        builder.issuer_name(_name(purpose, cluster))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, digest_for(key))
    )
    return CertificateAuthority(
        name=name, certificate_pem=certificates_pem([certificate]), key_pem=key_pem(key, passphrase)
    )


def _builder(
    common_name: str,
    key: PublicKey,
    begin: datetime,
    end: datetime,
    organization: str = "",
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name, organization))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        # Tells the CAs of two clusters apart; it has 64 characters of its own.
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _general_name(san: San) -> x509.GeneralName:
    return x509.DNSName(san) if isinstance(san, str) else x509.IPAddress(san)


def _key_usage(**allowed: bool) -> x509.KeyUsage:
    usages = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in usages})


# By whether the key is RSA: TLS 1.2 may encrypt to such a key, all others only sign.
_LEAF_KEY_USAGE = {
    False: _key_usage(digital_signature=True),
    True: _key_usage(digital_signature=True, key_encipherment=True),
}


def digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """What a signature by this key is over, beside the key's own choice."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None  # Ed25519 brings its own
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if strong else hashes.SHA256()


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
            ca = peer_ca = self.authority("ca", brought.ca, first)
        else:
            ca = self.authority("client-ca", brought.ca, first)
            peer_ca = self.authority("peer-ca", brought.peer_ca, second)
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
        one_ca = self.stored.ca == self.stored.peer_ca
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
                    _of_role(ours, leaf.role),
                    _of_role(theirs, leaf.role),
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
            client=clients.pop("client", None),
            clients=clients,
            peer_common_name=name,
            crl_pem=self.stored.crl_pem if self.stored else None,
            rotation=self.stored.rotation if self.stored else None,
        )
        return Issued(pki=pki, notes=tuple(self.notes), warnings=tuple(self.problems))


def _same_authority(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether leaves of the one pass as leaves of the other: a renewed CA keeps name and key."""
    return one.subject == other.subject and one.public_key() == other.public_key()


def _of_role(credentials: MemberCredentials | None, role: Role) -> Credential | None:
    if credentials is None:
        return None
    return credentials.peer if role is Role.PEER else credentials.server


def members_common_name(
    members: Mapping[str, MemberCredentials], clients: Iterable[Credential]
) -> str | None:
    """The common name that all members' peer certificates have and no client's has."""
    names = {_common_name_in(member.peer) for member in members.values()}
    callers = set(map(_common_name_in, clients))
    return names.pop() or None if len(names) == 1 and not names & callers else None


def _common_name_in(credential: Credential) -> str:
    try:
        return common_name_of(x509.load_pem_x509_certificate(credential.certificate_pem.encode()))
    except ValueError:
        return ""  # a damaged file in the store, which is reported where it is used
