"""The credentials of a cluster, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509

from imagegen.pki.leaves import Role
from imagegen.pki.pem import common_name_of

#: What CAs are called; their files have the same names.
ONE_CA, CLIENT_CA, PEER_CA = "ca", "client-ca", "peer-ca"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate, followed by its intermediates if it has any, and its private key."""

    certificate_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """A CA by the name of its files: ``ca``, ``client-ca`` or ``peer-ca``.

    Its certificate may be followed by others that members are to trust as well:
    the first one signs.

    ``key_pem`` may be encrypted by a passphrase. It is None where the key is
    not imagegen's to keep: the key of a CA that the operator brings stays where it is.
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

    def of(self, role: Role) -> Credential:
        """The credential of a role; ``MEMBER`` is either."""
        return self.peer if role is Role.PEER else self.server


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

    @property
    def one_ca(self) -> bool:
        """Whether one CA vouches for clients, servers and peers (layouts ``lab``, ``shared``).

        A member then has one credential, which it shows at both its ports. What
        the spec asks for is :attr:`imagegen.cluster.cluster.Cluster.one_credential`;
        :func:`imagegen.pki.issue.issue_pki` refuses a PKI that differs from it.
        """
        return self.ca.name == self.peer_ca.name

    @property
    def authorities(self) -> tuple[CertificateAuthority, ...]:
        """Its CAs, each once."""
        return (self.ca,) if self.one_ca else (self.ca, self.peer_ca)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of a member's leaves, each with a pair of files in the store."""
        return (Role.MEMBER,) if self.one_ca else (Role.SERVER, Role.PEER)

    def role_at(self, port: Role) -> Role:
        """The role of the leaf that a member shows at its ``SERVER`` or ``PEER`` port."""
        return Role.MEMBER if self.one_ca else port

    def authority_of(self, role: Role) -> CertificateAuthority:
        """The CA that signs the leaves of a role."""
        return self.peer_ca if role is Role.PEER else self.ca


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
