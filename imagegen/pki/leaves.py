"""Which leaf certificates a cluster needs, and what each must say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from imagegen.cluster.cluster import Cluster, Member
from imagegen.pki.pem import (
    San,
)

#: A machine's clock may be behind at first boot; its certificates are valid then too.
BACKDATED = timedelta(hours=1)

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH


#: The client that every cluster has, by the name of its files and in its certificate.
DEFAULT_CLIENT = "client"


class Role(StrEnum):
    """What a leaf is for; ``MEMBER`` is server and peer in one."""

    SERVER = "server"
    PEER = "peer"
    MEMBER = "member"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What one leaf certificate must say.

    ``sans`` are the names and addresses that imagegen puts into a certificate of its
    own. ``needed`` are those that any certificate must have: etcd cannot work without
    them, or the spec asks for them.
    """

    owner: str
    role: Role
    common_name: str
    days: int
    sans: tuple[San, ...] = ()
    needed: frozenset[San] = frozenset()

    def __str__(self) -> str:
        if self.role is Role.CLIENT:
            return f"client certificate {self.owner}"
        return f"{self.owner} {self.role} certificate"

    @property
    def usages(self) -> tuple[x509.ObjectIdentifier, ...]:
        """Its extended key usages.

        Peers both dial and answer with theirs, and etcd's JSON gateway dials
        its own server with the server's: serverAuth and clientAuth for both.
        """
        return (CLIENT_AUTH,) if self.role is Role.CLIENT else (SERVER_AUTH, CLIENT_AUTH)


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
    default = Leaf(owner=DEFAULT_CLIENT, role=Role.CLIENT, common_name=DEFAULT_CLIENT, days=days)
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
