"""The cluster model: what follows from a spec once the cluster has an identity.

Addresses become URLs, URLs and the token become the IDs that etcd will compute
for itself, and each member learns which names its certificates must carry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from imagegen.spec.model import MemberPlan, Spec, own_settings

Address: TypeAlias = IPv4Address | IPv6Address

LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def host_in_url(address: Address) -> str:
    """An address as a URL's host: IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]" if address.version == 6 else str(address)


def member_id(peer_urls: Sequence[str], token: str) -> int:
    """The ID etcd gives a bootstrap member; its name has no part in it.

    First eight bytes of SHA-1 over the sorted peer URLs and the token, as in
    etcd's ``membership.NewMember`` (3.4 to 3.7).
    """
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update("".join(sorted(peer_urls)).encode())
    digest.update(token.encode())
    return int.from_bytes(digest.digest()[:8], "big")


def cluster_id(member_ids: Sequence[int]) -> int:
    """The ID etcd gives a cluster bootstrapped with these members."""
    digest = hashlib.sha1(usedforsecurity=False)
    for number in sorted(member_ids):
        digest.update(number.to_bytes(8, "big"))
    return int.from_bytes(digest.digest()[:8], "big")


def hex_id(number: int) -> str:
    """An ID as etcdctl prints it: hexadecimal, without leading zeros."""
    return f"{number:x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMember:
    """A member as the other members know it."""

    name: str
    peer_url: str
    member_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """How a member came into a cluster that was there before it, as the cluster answered.

    ``members`` are those it had then, the new one too, which etcd wants to hear
    at its first start. ``earlier`` counts the members of this name before it.
    """

    member_id: int
    members: tuple[RecordedMember, ...]
    earlier: int
    promoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The snapshot a cluster began with: its SHA-256, size in bytes, and what its
    revision was raised by."""

    sha256: str
    size: int
    bump_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What sets one cluster apart from every other; made once and kept in the store.

    ``store_id`` is random: without it a rebuilt cluster of the same name would
    be taken for the old one by a disk that had booted the old one. ``created``
    is when it was made, and the date every file on the seeds carries.
    ``bootstrap`` are the members it began with, those of the spec if empty;
    ``joined`` says by name how the others came in; ``restored`` is the snapshot it
    began with, if it did not begin empty.
    """

    store_id: str
    token: str
    created: datetime
    bootstrap: tuple[RecordedMember, ...] = ()
    joined: Mapping[str, Joined] = field(default_factory=dict)
    restored: Restored | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialPaths:
    """Where a member keeps its certificates and keys."""

    ca: str
    server: str
    server_key: str
    peer_ca: str
    peer: str
    peer_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One etcd server in the cluster, and the machine it runs on."""

    plan: MemberPlan
    member_id: int
    instance_id: str
    peer_port: int
    client_port: int

    @property
    def name(self) -> str:
        """The member's name, which is its machine's host name too."""
        return self.plan.name

    @property
    def peer_address(self) -> Address:
        """Where the other members reach this one, and where it dials them from."""
        return self.plan.peer_address or self.plan.address

    @property
    def client_address(self) -> Address:
        """Where clients reach this member."""
        return self.plan.client_address or self.plan.address

    @property
    def peer_url(self) -> str:
        """The advertised peer URL."""
        return f"https://{host_in_url(self.peer_address)}:{self.peer_port}"

    @property
    def client_url(self) -> str:
        """The advertised client URL."""
        return f"https://{host_in_url(self.client_address)}:{self.client_port}"

    @property
    def listen_client_urls(self) -> tuple[str, ...]:
        """Where it listens for clients: the advertised address, and loopback for its operator."""
        loopback = LOOPBACK[self.client_address.version == 6]
        urls = (self.client_url, f"https://{host_in_url(loopback)}:{self.client_port}")
        return tuple(dict.fromkeys(urls))  # a lone member may have no other address

    @property
    def advertised_addresses(self) -> tuple[Address, ...]:
        """What must be on this machine's interfaces before etcd can listen."""
        return tuple(dict.fromkeys((self.peer_address, self.client_address)))

    @property
    def server_names(self) -> tuple[str, ...]:
        """DNS names of the server certificate."""
        return tuple(dict.fromkeys((self.name, *self.plan.dns_names, "localhost")))

    @property
    def server_addresses(self) -> tuple[Address, ...]:
        """Addresses of the server certificate: whatever a client may dial."""
        plan = self.plan
        return tuple(
            dict.fromkeys((self.client_address, plan.address, *plan.extra_addresses, *LOOPBACK))
        )

    @property
    def peer_names(self) -> tuple[str, ...]:
        """DNS names of the peer certificate."""
        return tuple(dict.fromkeys((self.name, *self.plan.dns_names)))

    @property
    def peer_addresses(self) -> tuple[Address, ...]:
        """Addresses of the peer certificate.

        etcd compares them with the address a peer dials *from* (checkCertSAN in
        client/pkg/transport), so every address this machine may use is here.
        """
        return tuple(
            dict.fromkeys((self.peer_address, self.plan.address, *self.plan.extra_addresses))
        )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A spec with an identity: everything about the cluster but its keys."""

    spec: Spec
    identity: Identity

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.spec.cluster

    @property
    def token(self) -> str:
        """The initial cluster token."""
        return self.identity.token

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The members, in the spec's order."""
        return tuple(self._member(plan) for plan in self.spec.members)

    def _member(self, plan: MemberPlan) -> Member:
        ports = {"peer_port": self.spec.etcd.peer_port, "client_port": self.spec.etcd.client_port}
        unnumbered = Member(plan=plan, member_id=0, instance_id="", **ports)
        joined = self.identity.joined.get(plan.name)
        return Member(
            plan=plan,
            member_id=joined.member_id if joined else member_id([unnumbered.peer_url], self.token),
            instance_id=instance_id(
                self.identity.store_id,
                self.name,
                plan.name,
                plan.generation,
                joined.earlier if joined else 0,
            ),
            **ports,
        )

    @cached_property
    def bootstrap(self) -> tuple[RecordedMember, ...]:
        """The members the cluster began with, whatever became of them."""
        return self.identity.bootstrap or tuple(
            RecordedMember(name=m.name, peer_url=m.peer_url, member_id=m.member_id)
            for m in self.members
        )

    @cached_property
    def cluster_id(self) -> int:
        """The cluster ID that etcd computes at the bootstrap; it never changes."""
        return cluster_id([member.member_id for member in self.bootstrap])

    def joined(self, member: Member) -> Joined | None:
        """How the member came into the running cluster; None for one of the bootstrap."""
        return self.identity.joined.get(member.name)

    def initial_members(self, member: Member) -> tuple[RecordedMember, ...]:
        """Whom the member is told of at its first start, itself too."""
        joined = self.joined(member)
        return joined.members if joined else self.bootstrap

    @property
    def client_urls(self) -> tuple[str, ...]:
        """Every member's advertised client URL."""
        return tuple(member.client_url for member in self.members)

    @property
    def one_credential(self) -> bool:
        """Whether a member's one credential serves clients and peers alike, under one CA."""
        return self.spec.pki.layout != "separate"

    @property
    def data_directory(self) -> str:
        """etcd's data directory on the member."""
        if self.spec.etcd.data_directory:
            return self.spec.etcd.data_directory
        # Not a disk's own top directory: lost+found there makes etcd complain.
        disk = self.spec.data_disk
        return f"{disk.mount_point}/data" if disk else "/var/lib/etcd"

    @cached_property
    def credential_paths(self) -> CredentialPaths:
        """Where each member keeps its certificates; the lab's names in its layouts."""
        names = self.spec.pki.files
        directory = self.spec.pki.directory
        ca = names.ca or "ca.pem"
        if self.one_credential:
            server = names.server or "kubernetes.pem"
            key = names.server_key or "kubernetes-key.pem"
            peer_ca, peer, peer_key = ca, server, key
        else:
            server, key = names.server or "server.pem", names.server_key or "server-key.pem"
            peer_ca = names.peer_ca or "peer-ca.pem"
            peer, peer_key = names.peer or "peer.pem", names.peer_key or "peer-key.pem"
        return CredentialPaths(
            ca=f"{directory}/{ca}",
            server=f"{directory}/{server}",
            server_key=f"{directory}/{key}",
            peer_ca=f"{directory}/{peer_ca}",
            peer=f"{directory}/{peer}",
            peer_key=f"{directory}/{peer_key}",
        )

    def initial_cluster(self, member: Member) -> str:
        """ETCD_INITIAL_CLUSTER of a member."""
        return ",".join(f"{o.name}={o.peer_url}" for o in self.initial_members(member))

    def others(self, member: Member) -> tuple[RecordedMember, ...]:
        """Every member that this one is told of at its first start, but itself."""
        return tuple(o for o in self.initial_members(member) if o.name != member.name)

    def initial_state(self, member: Member) -> str:
        """ETCD_INITIAL_CLUSTER_STATE: whether it makes the cluster, or comes into it."""
        return "existing" if self.joined(member) else "new"

    @property
    def crl_path(self) -> str:
        """Where each member keeps the list of revoked client certificates, if there is one."""
        return f"{self.spec.pki.directory}/client-crl.der"

    def settings(
        self, member: Member, peer_common_name: str | None, *, crl: bool = False
    ) -> Mapping[str, str]:
        """The member's ETCD_ variables, those of the lab first.

        With one CA for clients and peers, any client certificate would pass at
        the peer port too; there ``peer_common_name`` is the name the members'
        certificates share and no client's has. With ``crl`` clients are looked
        up in the list at :attr:`crl_path`.
        """
        paths = self.credential_paths
        settings = {
            "ETCD_NAME": member.name,
            "ETCD_DATA_DIR": self.data_directory,
            "ETCD_LISTEN_PEER_URLS": member.peer_url,
            "ETCD_LISTEN_CLIENT_URLS": ",".join(member.listen_client_urls),
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": member.peer_url,
            "ETCD_ADVERTISE_CLIENT_URLS": member.client_url,
            "ETCD_INITIAL_CLUSTER": self.initial_cluster(member),
            "ETCD_INITIAL_CLUSTER_STATE": self.initial_state(member),
            "ETCD_INITIAL_CLUSTER_TOKEN": self.token,
            "ETCD_CERT_FILE": paths.server,
            "ETCD_KEY_FILE": paths.server_key,
            "ETCD_TRUSTED_CA_FILE": paths.ca,
            "ETCD_CLIENT_CERT_AUTH": "true",
            "ETCD_PEER_CERT_FILE": paths.peer,
            "ETCD_PEER_KEY_FILE": paths.peer_key,
            "ETCD_PEER_TRUSTED_CA_FILE": paths.peer_ca,
            "ETCD_PEER_CLIENT_CERT_AUTH": "true",
        }
        if self.spec.etcd.wal_directory:
            settings["ETCD_WAL_DIR"] = self.spec.etcd.wal_directory
        if peer_common_name:
            settings["ETCD_PEER_CERT_ALLOWED_CN"] = peer_common_name
        if crl:
            settings["ETCD_CLIENT_CRL_FILE"] = self.crl_path
        if self.spec.etcd_version.minor < 5:
            # Both are the default from 3.5 on: a member that was cut off does
            # not disturb the leader when it returns; logs are one JSON object a line.
            settings["ETCD_PRE_VOTE"] = "true"
            settings["ETCD_LOGGER"] = "zap"
        return settings | own_settings(self.spec.etcd) | dict(self.spec.etcd.settings)


def instance_id(store_id: str, cluster: str, member: str, generation: int, earlier: int = 0) -> str:
    """cloud-init's name for this machine's life so far.

    A new one makes cloud-init run first boot again, so it depends on who the
    member is, on the operator's explicit generation and on how many members of
    this name were replaced (``earlier``), never on content or time
    (docs.cloud-init.io, explanation/first_boot). The last two do not add up:
    whatever the operator does to one, no life gets the name of another.
    """
    life = f"{generation}r{earlier}" if earlier else f"{generation}"
    digest = hashlib.sha256(f"{store_id}\0{cluster}\0{member}\0{life}".encode())
    return f"{member}-{digest.hexdigest()[:16]}-g{life}"
