"""The cluster spec: what an operator writes down about one etcd cluster.

Each class is one section of the YAML file, and each of its fields one setting
with its kind and a sentence of meaning. :func:`imagegen.spec.read.parse_spec`
makes them. Nothing here is derived: URLs, IDs and certificate names belong to
:mod:`imagegen.cluster.cluster`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from imagegen.etcd.variables import Version
from imagegen.etcd.versions import EXAMPLE_RELEASE, parse_release
from imagegen.spec.distributions import DISTRIBUTIONS, TOO_OLD, TRACKERS, shipped_etcd
from imagegen.spec.kinds import Anything, Boolean, Integer, ListOf, MappingOf, OneOf, Text
from imagegen.spec.records import Record, setting
from imagegen.spec.secrets import Secrets
from imagegen.spec.words import (
    ABSOLUTE_PATH,
    ADDRESS,
    DNS_NAME,
    ETCD_VERSION,
    FILE_NAME,
    HOST_LABEL,
    INSTANT,
    INTERFACE,
    INTERFACE_NAME,
    LINE,
    MAC,
    NETWORK,
    PACKAGE,
    SHA256,
    SIZE,
    SSH_PUBLIC_KEY,
    URL,
    Address,
    Interface,
    Network,
)

#: The architectures that upstream builds etcd for and supports best, by the guest's own names.
ARCHITECTURES = ("amd64", "arm64")

#: Keys of cloud-config whose lists hold what imagegen writes, then what the operator adds.
APPENDED = ("write_files", "runcmd", "users", "ssh_authorized_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One static route."""

    to: Network = setting(NETWORK, "Destination network.")
    via: Address = setting(ADDRESS, "Router, on one of this NIC's networks.")
    metric: int | None = setting(Integer(0, 2**32 - 1), "Smaller is preferred.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """Another network interface of one member's machine."""

    mac: str | None = setting(MAC, "Which card, by its MAC address.", default=None)
    interface: str | None = setting(
        INTERFACE_NAME, "Its name; with `mac`, the name it is given.", default=None
    )
    addresses: tuple[Interface, ...] = setting(
        ListOf(INTERFACE), "Static addresses with prefix length.", default=()
    )
    dhcp: bool = setting(Boolean(), "Ask for an address by DHCP.", default=False)
    gateway: Address | None = setting(ADDRESS, "Default route through this NIC.", default=None)
    routes: tuple[Route, ...] = setting(ListOf(Record(Route)), "Static routes.", default=())
    mtu: int | None = setting(Integer(576, 65535), "Bytes per packet.", default=None)
    vlan: int | None = setting(Integer(1, 4094), "802.1Q tag of a VLAN on this NIC.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """One etcd server in the cluster, and the machine it runs on."""

    name: str = setting(HOST_LABEL, "The member's name and its machine's host name.")
    address: Address = setting(ADDRESS, "Where peers and clients reach it, unless told below.")
    peer_address: Address | None = setting(
        ADDRESS, "Where the other members reach it, if not at `address`.", default=None
    )
    client_address: Address | None = setting(
        ADDRESS, "Where clients reach it, if not at `address`.", default=None
    )
    dns_names: tuple[str, ...] = setting(
        ListOf(DNS_NAME), "More DNS names for its certificates.", default=()
    )
    extra_addresses: tuple[Address, ...] = setting(
        ListOf(ADDRESS), "More addresses for its certificates.", default=()
    )
    mac: str | None = setting(MAC, "Its network card; network-config matches by it.", default=None)
    interface: str | None = setting(
        INTERFACE_NAME, "Its network interface; with `mac`, the name it is given.", default=None
    )
    nics: tuple[Nic, ...] = setting(ListOf(Record(Nic)), "More NICs.", default=())
    generation: int = setting(
        Integer(1, 10**6),
        "Raise it to make first boot run again on this machine; nothing else does.",
        default=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """How the members' first NIC is set up; without it, cloud-init falls back to DHCP."""

    dhcp: bool = setting(
        Boolean(), "DHCP; the server must hand out the members' addresses.", default=False
    )
    prefix: int | None = setting(
        Integer(1, 128), "Prefix length of the members' network.", default=None
    )
    gateway: Address | None = setting(ADDRESS, "Default route; none is fine.", default=None)
    dns: tuple[Address, ...] = setting(ListOf(ADDRESS), "Name servers.", default=())
    search: tuple[str, ...] = setting(ListOf(DNS_NAME), "DNS search domains.", default=())
    routes: tuple[Route, ...] = setting(ListOf(Record(Route)), "Static routes.", default=())
    mtu: int | None = setting(Integer(576, 65535), "Bytes per packet.", default=None)
    vlan: int | None = setting(
        Integer(1, 4094), "802.1Q tag; the addresses are on the VLAN.", default=None
    )
    version: int = setting(
        Integer(1, 2),
        "network-config version: 1 works with every renderer, 2 only with netplan.",
        default=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdPlan:
    """Settings of etcd itself, the same on every member."""

    version: Version | None = setting(
        ETCD_VERSION,
        "The etcd the members run, where the distribution does not say it.",
        default=None,
    )
    data_directory: str | None = setting(
        ABSOLUTE_PATH, "Default /var/lib/etcd; with `data_disk`, a directory on it.", default=None
    )
    wal_directory: str | None = setting(
        ABSOLUTE_PATH, "Write-ahead log, if not in the data directory.", default=None
    )
    client_port: int = setting(Integer(1, 65535), "Port for clients.", default=2379)
    peer_port: int = setting(Integer(1, 65535), "Port for the other members.", default=2380)
    heartbeat_interval_ms: int | None = setting(
        Integer(1, 10_000), "About the round-trip time between members.", default=None
    )
    election_timeout_ms: int | None = setting(
        Integer(5, 50_000), "At least five heartbeats, ten round trips.", default=None
    )
    quota: int | None = setting(
        SIZE, "Size the database may reach; above 8GiB etcd warns.", default=None
    )
    auto_compaction: str | None = setting(
        Text(
            what="a retention",
            pattern=r"[0-9]+(h|m|s)?",
            hint="a duration such as 1h, or a number of revisions",
        ),
        "Keep this much history: a duration, or a number of revisions.",
        default=None,
    )
    metrics_url: str | None = setting(
        URL, "Where /metrics and /health are served without TLS to this machine.", default=None
    )
    settings: Mapping[str, str] = setting(
        MappingOf(
            Text(what="an etcd variable", pattern="ETCD_[A-Z0-9_]+", hint="such as ETCD_LOG_LEVEL"),
            LINE,
        ),
        "More ETCD_ variables, each known to the members' etcd version.",
        default={},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """Another package source, trusted only for what its key has signed."""

    name: str = setting(
        Text(what="a source's name", pattern=r"[a-z0-9][a-z0-9-]{0,63}", hint="such as backports"),
        "Names its files: /etc/apt/sources.list.d/NAME.sources and /etc/apt/keyrings/NAME.asc.",
    )
    uri: str = setting(URL, "Where it is.")
    suite: str = setting(
        Text(what="a suite", pattern=r"[A-Za-z0-9][A-Za-z0-9._/-]*", hint="such as trixie"),
        "Its suite, or a path with a slash at its end.",
    )
    components: tuple[str, ...] = setting(
        ListOf(Text(what="a component", pattern=r"[A-Za-z0-9][A-Za-z0-9._/-]*")),
        "Its components; none if the suite is a path.",
        default=(),
    )
    key: str = setting(
        Text(
            what="an OpenPGP public key in ASCII armor",
            pattern=r"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----\n[\s\S]*\n"
            r"-----END PGP PUBLIC KEY BLOCK-----\s*",
            parse=lambda text: text.strip() + "\n",
            hint="as `gpg --armor --export` prints it, below `key: |`",
        ),
        "Its signing key, in ASCII armor.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """Where the members' packages come from, if not from the image's own sources."""

    mirror: str | None = setting(URL, "Mirror of the distribution.", default=None)
    security_mirror: str | None = setting(URL, "Mirror of its security updates.", default=None)
    proxy: str | None = setting(URL, "HTTP proxy for packages.", default=None)
    sources: tuple[AptSource, ...] = setting(
        ListOf(Record(AptSource)), "More package sources.", default=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An upstream release that first boot downloads."""

    version: str = setting(
        Text(
            what="a release of etcd",
            pattern=r"3\.[0-9]+\.[0-9]+",
            parse=lambda text: str(parse_release(text)),
            hint=f'all three numbers, quoted, such as "{EXAMPLE_RELEASE}"',
        ),
        "Its version.",
    )
    sha256: Mapping[str, str] = setting(
        MappingOf(OneOf(ARCHITECTURES), SHA256),
        "Digest of the archive for each of the members' architectures, amd64 and arm64.",
    )
    url: str = setting(
        URL,
        "Where the archive is; {version} and {architecture} are filled in.",
        default="https://github.com/etcd-io/etcd/releases/download/v{version}/"
        "etcd-v{version}-linux-{architecture}.tar.gz",
    )


#: What upstream calls its archives, and dpkg its packages, version and all.
ARCHIVE_NAME = re.compile(r"etcd-v(3\.[0-9]+\.[0-9]+)-linux-(amd64|arm64)\.tar\.gz")
PACKAGE_NAME = re.compile(r"([a-z0-9][a-z0-9+.-]+)_([A-Za-z0-9.+~%-]+)_(amd64|arm64|all)\.deb")


def _bundled(text: str) -> str:
    name = text.rpartition("/")[2]
    archive = ARCHIVE_NAME.fullmatch(name)
    if archive:
        parse_release(archive[1])
    elif not PACKAGE_NAME.fullmatch(name):
        raise ValueError("its name says neither which release nor which package it is")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """A file that travels on the seed."""

    file: str = setting(
        Text(
            what="a release archive or a package",
            pattern=r"[^\x00-\x1f\x7f]+",
            parse=_bundled,
            hint=f"etcd-v{EXAMPLE_RELEASE}-linux-amd64.tar.gz or NAME_VERSION_ARCHITECTURE.deb, "
            "as they are published",
        ),
        "The file, relative to the spec.",
    )
    sha256: str = setting(SHA256, "Its digest.")

    @property
    def name(self) -> str:
        """Its name on the seed."""
        return self.file.rpartition("/")[2]

    @property
    def release(self) -> str | None:
        """The release an archive holds; None for a package."""
        match = ARCHIVE_NAME.fullmatch(self.name)
        return match[1] if match else None

    @property
    def package(self) -> str | None:
        """``name=version`` of a package, as apt says it; None for an archive."""
        match = PACKAGE_NAME.fullmatch(self.name)
        # A file name has no colon: that of an epoch is spelled %3a.
        return f"{match[1]}={unquote(match[2])}" if match else None

    @property
    def architecture(self) -> str:
        """What it is made for; ``all`` is anything."""
        match = ARCHIVE_NAME.fullmatch(self.name) or PACKAGE_NAME.fullmatch(self.name)
        assert match  # for mypy: its kind has seen to it
        return match[match.re.groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Where etcd comes from."""

    mode: str = setting(
        OneOf(("package", "release", "bundle", "preinstalled")),
        "package: the distribution's packages; release: an upstream archive, downloaded; bundle: "
        "an archive or packages on the seed, for no network at all; preinstalled: in the image.",
        default="package",
    )
    release: Release | None = setting(Record(Release), "What mode release downloads.", default=None)
    bundle: tuple[BundledFile, ...] = setting(
        ListOf(Record(BundledFile)),
        "What mode bundle puts on the seed: an archive for each architecture, or packages.",
        default=(),
    )
    packages: tuple[str, ...] = setting(
        ListOf(PACKAGE, at_least=1),
        "Packages that bring etcd; `name=version` pins one.",
        default=("etcd-server", "etcd-client"),
    )
    extra_packages: tuple[str, ...] = setting(
        ListOf(PACKAGE), "More packages to install with it.", default=()
    )
    minimum_version: Version | None = setting(
        ETCD_VERSION,
        "First boot stops if the installed etcd is older.",
        default=None,
    )
    apt: Apt | None = setting(Record(Apt), "Package sources.", default=None)

    @property
    def bundled(self) -> tuple[BundledFile, ...]:
        """The files that travel on the seed."""
        return self.bundle if self.mode == "bundle" else ()

    @property
    def release_version(self) -> str | None:
        """The release that first boot unpacks; None where etcd comes in packages or the image."""
        if self.mode == "release":
            return self.release.version if self.release else None
        return next((file.release for file in self.bundled if file.release), None)

    @property
    def apt_packages(self) -> tuple[str, ...]:
        """What first boot gets from the package sources."""
        if self.mode not in ("package", "release"):
            return ()
        return (*(self.packages if self.mode == "package" else ()), *self.extra_packages)

    @property
    def pinned_packages(self) -> tuple[str, ...]:
        """The packages that are to bring etcd, those with a version as ``name=version``."""
        if self.mode == "bundle":
            return tuple(file.package for file in self.bundled if file.package)
        return self.packages if self.mode == "package" else ()

    def etcd_version(self, distribution: str | None) -> Version:
        """The etcd that this brings; where nothing says which, the distribution's own.

        Raises:
            ValueError: a package is pinned to what is not a version.
        """
        if self.release_version:
            return Version.parse(self.release_version)
        return Version.parse(self.pinned_etcd) if self.pinned_etcd else shipped_etcd(distribution)

    @property
    def pinned_etcd(self) -> str | None:
        """The version of the package that brings etcd, where it is pinned."""
        pinned = dict(package.split("=", 1) for package in self.pinned_packages if "=" in package)
        return pinned.get("etcd-server")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDisk:
    """A disk that holds the data directory and nothing else."""

    device: str = setting(
        ABSOLUTE_PATH, "The disk, by a name that stays the same: /dev/disk/by-id/..."
    )
    label: str = setting(
        Text(
            what="a file system label",
            pattern=r"[A-Za-z0-9._-]{1,16}",
            hint="at most 16 letters, digits and ._-",
        ),
        "Label it is formatted with, once, and found by ever after.",
        default="etcd-data",
    )
    mount_point: str = setting(ABSOLUTE_PATH, "Where it is mounted.", default="/var/lib/etcd")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A login user beside the image's default one."""

    name: str = setting(
        Text(
            what="a user name",
            pattern=r"[a-z_][a-z0-9_-]{0,31}",
            hint="lower-case letters, digits, _ and -",
        ),
        "Login name.",
    )
    ssh_authorized_keys: tuple[str, ...] = setting(
        ListOf(SSH_PUBLIC_KEY),
        "Public keys that may log in.",
        default=(),
    )
    groups: tuple[str, ...] = setting(
        ListOf(Text(what="a group", pattern=r"[a-z_][a-z0-9_-]{0,31}")), "Groups.", default=()
    )
    sudo: bool = setting(Boolean(), "May become root without a password.", default=False)
    shell: str = setting(ABSOLUTE_PATH, "Login shell.", default="/bin/bash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ntp:
    """Time sources, for members that cannot reach their image's own."""

    servers: tuple[str, ...] = setting(
        ListOf(Text(what="a host", pattern=r"[A-Za-z0-9.:-]+")), "NTP servers.", default=()
    )
    pools: tuple[str, ...] = setting(ListOf(DNS_NAME), "NTP pools.", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsEntry:
    """A line for /etc/hosts; the members themselves are always in it."""

    address: Address = setting(ADDRESS, "The address.")
    names: tuple[str, ...] = setting(ListOf(DNS_NAME, at_least=1), "Its names.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCa:
    """The operator's certificate authority, which signs the leaves that imagegen makes."""

    certificate: str = setting(LINE, "PEM file, relative to the spec; may hold its chain.")
    key: str = setting(LINE, "PEM file of its private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCredential:
    """A ready-made certificate and its private key."""

    certificate: str = setting(LINE, "PEM file, relative to the spec.")
    key: str = setting(LINE, "PEM file of its private key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedMember:
    """Ready-made credentials of one member."""

    server: ImportedCredential = setting(
        Record(ImportedCredential), "For the client port; in layouts lab and shared, for both."
    )
    peer: ImportedCredential | None = setting(
        Record(ImportedCredential), "For the peer port, in layout separate.", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Certificates that the operator brings, checked before they are used."""

    ca: ImportedCa | None = setting(
        Record(ImportedCa), "A CA that signs server and client certificates.", default=None
    )
    peer_ca: ImportedCa | None = setting(
        Record(ImportedCa), "A CA that signs peer certificates, in layout separate.", default=None
    )
    ca_certificate: str | None = setting(
        LINE, "PEM file of the CA behind ready-made certificates.", default=None
    )
    peer_ca_certificate: str | None = setting(
        LINE, "The same for the peer port, in layout separate.", default=None
    )
    members: Mapping[str, ImportedMember] = setting(
        MappingOf(HOST_LABEL, Record(ImportedMember)),
        "Ready-made credentials by member name.",
        default={},
    )
    shared: ImportedCredential | None = setting(
        Record(ImportedCredential), "The one pair of layout shared.", default=None
    )
    client: ImportedCredential | None = setting(
        Record(ImportedCredential), "A ready-made client credential for etcdctl.", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNames:
    """What the credentials are called on the member."""

    ca: str | None = setting(FILE_NAME, "CA that signs clients and servers.", default=None)
    server: str | None = setting(FILE_NAME, "Server certificate.", default=None)
    server_key: str | None = setting(FILE_NAME, "Its private key.", default=None)
    peer_ca: str | None = setting(FILE_NAME, "CA that signs peers.", default=None)
    peer: str | None = setting(FILE_NAME, "Peer certificate.", default=None)
    peer_key: str | None = setting(FILE_NAME, "Its private key.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PkiPlan:
    """Certificates: who signs, with what, for how long, and where they go."""

    layout: str = setting(
        OneOf(("separate", "lab", "shared")),
        "separate: server and peer credentials under two CAs; lab: one CA and one credential "
        "per member; shared: the operator's one pair on all members.",
        default="separate",
    )
    allow_shared_key: bool = setting(
        Boolean(), "Accept that one stolen key is the whole cluster (layout shared).", default=False
    )
    algorithm: str = setting(
        OneOf(("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")),
        "Kind of the private keys.",
        default="ecdsa-p256",
    )
    ca_days: int = setting(Integer(1, 36_500), "Lifetime of a new CA.", default=3650)
    leaf_days: int = setting(
        Integer(1, 36_500), "Lifetime of a leaf, never beyond its CA's.", default=1095
    )
    directory: str = setting(ABSOLUTE_PATH, "Where they are on the member.", default="/etc/etcd")
    files: FileNames = setting(
        Record(FileNames), "What they are called there.", default=FileNames()
    )
    imports: Import | None = setting(Record(Import), "What the operator brings.", default=None)


def _common_name(text: str) -> str:
    if len(text.encode()) > 64:
        raise ValueError("it has more than 64 bytes in UTF-8")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A credential for one caller of the cluster."""

    name: str = setting(HOST_LABEL, "Names its files: client/NAME.pem and NAME-key.pem.")
    common_name: str | None = setting(
        Text(
            what="a common name",
            pattern=r"[^\x00-\x1f\x7f]{1,64}",
            parse=_common_name,
            hint="1 to 64 characters",
        ),
        "etcd reads it as user name once authentication is on; default: `name`.",
        default=None,
    )
    days: int | None = setting(Integer(1, 36_500), "Lifetime.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One etcd cluster, as its operator wants it."""

    cluster: str = setting(HOST_LABEL, "The cluster's name; its folders are called so.")
    token: str | None = setting(
        Text(what="a token", pattern=r"[!-~]{1,128}", hint="printable, no spaces"),
        "Initial cluster token; must differ from every other cluster's. Default: random, once.",
        default=None,
    )
    members: tuple[MemberPlan, ...] = setting(
        ListOf(Record(MemberPlan), at_least=1), "The members, each with `name` and `address`."
    )
    distribution: str | None = setting(
        OneOf((*DISTRIBUTIONS, *TOO_OLD)),
        "What the machines run; decides which etcd settings exist. Default: the oldest.",
        default=None,
    )
    network: NetworkPlan | None = setting(
        Record(NetworkPlan), "The members' first NIC.", default=None
    )
    etcd: EtcdPlan = setting(Record(EtcdPlan), "etcd's settings.", default=EtcdPlan())
    bootstrap_until: datetime | None = setting(
        INSTANT,
        "After this time a member with an empty data directory refuses to start.",
        default=None,
    )
    install: Install = setting(Record(Install), "Where etcd comes from.", default=Install())
    data_disk: DataDisk | None = setting(Record(DataDisk), "A disk for the data.", default=None)
    after_boot: str = setting(
        OneOf(("keep", "scrub")),
        "scrub: once the member is healthy, remove cloud-init's copies of its keys and lock "
        "cloud-init, so that no later seed is read; keep: leave both as they are.",
        default="keep",
    )
    secrets: str | None = setting(
        OneOf(tuple(map(str, Secrets))),
        "How private keys reach the members: embed, in user-data; split, on a small disk of their "
        "own; external, by your own means. Default: what suits each target.",
        default=None,
    )
    extra_user_data: Mapping[str, Any] = setting(
        MappingOf(Text(what="a cloud-config key", pattern=r"[a-z][a-z0-9_-]*"), Anything()),
        "cloud-config of your own, appended to what imagegen writes: packages, users, "
        "write_files, runcmd, ...",
        default={},
    )
    ssh_authorized_keys: tuple[str, ...] = setting(
        ListOf(SSH_PUBLIC_KEY),
        "Public keys for the image's default user.",
        default=(),
    )
    users: tuple[User, ...] = setting(ListOf(Record(User)), "More users.", default=())
    ntp: Ntp | None = setting(Record(Ntp), "Time sources.", default=None)
    hosts: tuple[HostsEntry, ...] = setting(
        ListOf(Record(HostsEntry)), "More lines for /etc/hosts.", default=()
    )
    pki: PkiPlan = setting(Record(PkiPlan), "Certificates.", default=PkiPlan())
    clients: tuple[Client, ...] = setting(
        ListOf(Record(Client)), "Named credentials, such as kube-apiserver.", default=()
    )

    @property
    def etcd_version(self) -> Version:
        """The etcd whose settings apply; the oldest we support unless the spec says more."""
        return self.etcd.version or self.install.etcd_version(self.distribution)

    @property
    def etcd_release(self) -> Version | None:
        """The etcd the members get, to the patch level; None where the spec leaves that open."""
        if self.etcd.version and not self.install.release_version:
            # "3.6" and "3.6.0" are read alike.
            return self.etcd.version if self.etcd.version.patch else None
        known = self.install.release_version or self.install.pinned_etcd
        return self.etcd_version if known or self.distribution in DISTRIBUTIONS else None

    @property
    def package_tracker(self) -> str | None:
        """Where to see which fixes the members' package of etcd has; None for a release."""
        if self.install.release_version:
            return None
        family = (self.distribution or "").partition("-")[0]
        return TRACKERS.get(family, "the distribution's security tracker")


#: Settings that are etcd variables under a friendlier name.
FRIENDLY: Mapping[str, str] = {
    "ETCD_HEARTBEAT_INTERVAL": "heartbeat_interval_ms",
    "ETCD_ELECTION_TIMEOUT": "election_timeout_ms",
    "ETCD_QUOTA_BACKEND_BYTES": "quota",
    "ETCD_AUTO_COMPACTION_RETENTION": "auto_compaction",
    "ETCD_LISTEN_METRICS_URLS": "metrics_url",
}


def own_settings(plan: EtcdPlan) -> dict[str, str]:
    """The friendly settings of ``plan`` as etcd variables, those that are set."""
    settings = {
        name: str(getattr(plan, key))
        for name, key in FRIENDLY.items()
        if getattr(plan, key) is not None
    }
    if retention := plan.auto_compaction:
        mode = "revision" if retention.isdigit() else "periodic"
        settings["ETCD_AUTO_COMPACTION_MODE"] = mode
    return settings
