"""The cluster spec: what an operator writes down about one etcd cluster.

``parse_spec`` turns the YAML text into frozen values and reports every problem
at once, each with its line and column. Nothing here is derived: URLs, IDs and
certificate names belong to :mod:`imagegen.cluster.cluster`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from urllib.parse import unquote

from imagegen.base.problems import Problem, raise_errors
from imagegen.etcd.variables import Version, check_combination, check_setting
from imagegen.etcd.versions import EXAMPLE_RELEASE, corrupts, parse_release
from imagegen.spec.fields import (
    ABSOLUTE_PATH,
    ADDRESS,
    DNS_NAME,
    FILE_NAME,
    HOST_LABEL,
    INSTANT,
    INTERFACE,
    INTERFACE_NAME,
    LINE,
    MAC,
    NETWORK,
    SIZE,
    URL,
    Address,
    Anything,
    Boolean,
    Integer,
    Interface,
    ListOf,
    MappingOf,
    Network,
    OneOf,
    Path,
    Reader,
    Record,
    Text,
    compose,
    setting,
)

#: The etcd each supported release ships, which decides what settings it knows
#: (packages.debian.org, packages.ubuntu.com; 22.04 and older ship 3.3). Debian 14 is what
#: testing is now: it may yet get a newer etcd, which `etcd.version` then says.
DISTRIBUTIONS: Mapping[str, str] = {
    "debian-12": "3.4.23",
    "debian-13": "3.5.16",
    "debian-14": "3.5.30",
    "ubuntu-24.04": "3.4.30",
    "ubuntu-25.10": "3.5.16",
    "ubuntu-26.04": "3.5.16",
}
#: Where a distribution says which fixes its packages of etcd have.
TRACKERS: Mapping[str, str] = {
    "debian": "https://security-tracker.debian.org/tracker/source-package/etcd",
    "ubuntu": "https://ubuntu.com/security/cves?package=etcd",
}
#: Releases whose etcd is too old for us, so that the message can say so.
TOO_OLD: Mapping[str, str] = {
    "debian-11": "3.3.25",
    "ubuntu-20.04": "3.2.26",
    "ubuntu-22.04": "3.3.25",
}
#: Those of them whose Python the first-boot program cannot use either (3.9 and 3.8).
TOO_OLD_FOR_ANY = ("debian-11", "ubuntu-20.04")
#: What upstream builds for and we know by the guest's own name; etcd's tier 1.
ARCHITECTURES = ("amd64", "arm64")


#: How private keys can reach a member.
SECRETS = ("embed", "split", "external")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One static route."""

    to: Network = setting(NETWORK, "Destination network.")
    via: Address = setting(ADDRESS, "Router, on one of this NIC's networks.")
    metric: int | None = setting(Integer(0, 2**32 - 1), "Smaller is preferred.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A further network interface of one member's machine."""

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
        ListOf(DNS_NAME), "Further DNS names for its certificates.", default=()
    )
    extra_addresses: tuple[Address, ...] = setting(
        ListOf(ADDRESS), "Further addresses for its certificates.", default=()
    )
    mac: str | None = setting(MAC, "Its network card; network-config matches by it.", default=None)
    interface: str | None = setting(
        INTERFACE_NAME, "Its network interface; with `mac`, the name it is given.", default=None
    )
    nics: tuple[Nic, ...] = setting(ListOf(Record(Nic)), "Further NICs.", default=())
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
        Text(
            what="an etcd version",
            pattern=r"3\.[0-9]+(\.[0-9]+)?",
            parse=parse_release,
            hint='quoted, such as "3.5" or "3.5.16"',
        ),
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
        "Further ETCD_ variables, each known to the members' etcd version.",
        default={},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """A further package source, trusted for what its key has signed and no more."""

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
        ListOf(Record(AptSource)), "Further package sources.", default=()
    )


SHA256 = Text(
    what="a SHA-256",
    pattern=r"[0-9a-fA-F]{64}",
    parse=str.lower,
    hint="64 hexadecimal digits; `imagegen pin FILE` prints it",
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
        """What it is called on the seed."""
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
        # A file name has no colon: of a version with an epoch it is spelled %3a.
        return f"{match[1]}={unquote(match[2])}" if match else None

    @property
    def architecture(self) -> str:
        """What it is made for; ``all`` is anything."""
        match = ARCHIVE_NAME.fullmatch(self.name) or PACKAGE_NAME.fullmatch(self.name)
        assert match  # for mypy: its kind has seen to it
        return match[match.re.groups]


PACKAGE = Text(
    what="a package",
    pattern=r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?",
    hint="a name, or name=version",
)


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
        ListOf(PACKAGE), "Further packages to install with it.", default=()
    )
    minimum_version: Version | None = setting(
        Text(
            what="an etcd version",
            pattern=r"3\.[0-9]+(\.[0-9]+)?",
            parse=parse_release,
            hint='quoted, such as "3.5" or "3.5.16"',
        ),
        "First boot stops if the installed etcd is older.",
        default=None,
    )
    apt: Apt | None = setting(Record(Apt), "Package sources.", default=None)

    @property
    def bundled(self) -> tuple[BundledFile, ...]:
        """The files that travel on the seed, those that could be read."""
        files = (self.bundle or ()) if self.mode == "bundle" else ()
        return tuple(file for file in files if file and file.file)

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
        return tuple(filter(None, self.packages or ())) if self.mode == "package" else ()

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
        ListOf(
            Text(
                what="an SSH public key",
                pattern=r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f-\x9f]*)?",
                hint="one line of an authorized_keys file",
            )
        ),
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
    """A certificate authority of the operator's that signs our leaves."""

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
        OneOf(SECRETS),
        "How private keys reach the members: embed, in user-data; split, on a small disk of their "
        "own; external, by your own means. Default: what suits each target.",
        default=None,
    )
    extra_user_data: Mapping[str, Any] = setting(
        MappingOf(Text(what="a cloud-config key", pattern=r"[a-z][a-z0-9_-]*"), Anything()),
        "cloud-config of your own, appended to ours: packages, users, write_files, runcmd, ...",
        default={},
    )
    ssh_authorized_keys: tuple[str, ...] = setting(
        ListOf(User.__dataclass_fields__["ssh_authorized_keys"].metadata["kind"].item),
        "Public keys for the image's default user.",
        default=(),
    )
    users: tuple[User, ...] = setting(ListOf(Record(User)), "Further users.", default=())
    ntp: Ntp | None = setting(Record(Ntp), "Time sources.", default=None)
    hosts: tuple[HostsEntry, ...] = setting(
        ListOf(Record(HostsEntry)), "Further lines for /etc/hosts.", default=()
    )
    pki: PkiPlan = setting(Record(PkiPlan), "Certificates.", default=PkiPlan())
    clients: tuple[Client, ...] = setting(
        ListOf(Record(Client)), "Named credentials, such as kube-apiserver.", default=()
    )

    @property
    def etcd_version(self) -> Version:
        """The etcd whose settings apply; the oldest we support unless the spec says more."""
        if self.etcd.version:
            return self.etcd.version
        if self.install.release_version:
            return Version.parse(self.install.release_version)
        if pinned := self.install.pinned_etcd:
            return Version.parse(pinned)
        return Version.parse(DISTRIBUTIONS.get(self.distribution or "", DISTRIBUTIONS["debian-12"]))

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


def parse_spec(text: str, *, source: str) -> tuple[Spec, tuple[Problem, ...]]:
    """The spec in ``text``, and the warnings about it.

    ``source`` names the text in messages, such as ``cluster.yaml``.

    Raises:
        ProblemsError: with every error found, each with its line and column.
    """
    reader = Reader(source)
    root = compose(text, source)
    reader.visit(root, ())
    spec: Spec | None = Record(Spec).read(root, (), reader)
    if spec is not None:
        for check in CHECKS:
            check(spec, reader)
    raise_errors(reader.problems)
    assert spec is not None  # for mypy: no spec means an error above
    return spec, tuple(reader.problems)


def spec_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "imagegen cluster spec",
        **Record(Spec).schema(),
    }


# --- what single settings cannot show ------------------------------------------------
#
# A setting that could not be read is None here and already reported; every
# check passes over it, so that one run shows all there is.


def _members(spec: Spec) -> Iterator[tuple[Path, MemberPlan]]:
    for index, member in enumerate(spec.members or ()):
        if member is not None:
            yield ("members", index), member


def _check_size(spec: Spec, reader: Reader) -> None:
    count = len(spec.members or ())
    path: Path = ("members",)
    if count == 1:
        reader.warning(path, "one member survives no failure", "use 3 or 5 members")
    elif count and count % 2 == 0:
        reader.warning(
            path,
            f"{count} members tolerate {(count - 1) // 2} failures, as many as {count - 1} do",
            f"use {count - 1} or {count + 1} members",
        )
    elif count > 7:
        reader.warning(path, f"{count} members slow every write", "etcd advises at most 7")


def _check_unique(spec: Spec, reader: Reader) -> None:
    seen: dict[tuple[str, object], Path] = {}

    def once(kind: str, value: object, path: Path, hint: str) -> None:
        if value is None:
            return
        first = seen.setdefault((kind, value), path)
        # A member may use its own address in several of its settings.
        if first[:2] != path[:2] or (kind == "MAC" and first != path):
            owner = f"{first[0]}[{first[1]}]"
            reader.error(path, f"{value} is already used by {owner}", hint)

    for path, member in _members(spec):
        once("name", member.name, (*path, "name"), "give each member its own name")
        for key in ("address", "peer_address", "client_address"):
            once("address", getattr(member, key), (*path, key), "give each member its own address")
        once("MAC", member.mac, (*path, "mac"), "MAC addresses are unique in a network")
        for index, nic in enumerate(member.nics or ()):
            if nic is None:
                continue
            nic_path = (*path, "nics", index)
            once("MAC", nic.mac, (*nic_path, "mac"), "MAC addresses are unique in a network")
            for number, interface in enumerate(nic.addresses or ()):
                once(
                    "address",
                    interface and interface.ip,
                    (*nic_path, "addresses", number),
                    "give each machine its own address",
                )
    for index, client in enumerate(spec.clients or ()):
        if client is None:
            continue
        client_path: Path = ("clients", index)
        once("client", client.name, (*client_path, "name"), "give each client its own name")
        if client.name in RESERVED_CLIENTS:
            reader.error(
                (*client_path, "name"),
                f"{client.name} is the name of a file that is always made",
                "choose another name",
            )
        elif client.name and client.name.endswith("-key"):
            reader.error(
                (*client_path, "name"),
                f"{client.name}.pem is where another client's private key would be",
                "choose a name that does not end in -key",
            )
    for index, user in enumerate(spec.users or ()):
        if user is not None:
            once("user", user.name, ("users", index, "name"), "list each user once")


def _check_reachable(spec: Spec, reader: Reader) -> None:
    """Of several members, each is on a machine of its own."""
    for path, member in _members(spec) if len(spec.members or ()) > 1 else ():
        for key in ("address", "peer_address", "client_address"):
            address = getattr(member, key)
            if address is not None and address.is_loopback:
                reader.warning(
                    (*path, key),
                    f"{address} is a loopback address: no other machine reaches it",
                    "its address in the network of the members",
                )


#: client/ca.pem and client/client.pem are every cluster's.
RESERVED_CLIENTS = frozenset({"ca", "client"})


def _check_network(spec: Spec, reader: Reader) -> None:
    for path, member in _members(spec):
        for index, nic in enumerate(member.nics or ()):
            if nic is not None:
                _check_nic(nic, (*path, "nics", index), reader)
    plan = spec.network
    if plan is None:
        return
    if plan.dhcp:
        for key in ("prefix", "gateway"):
            if getattr(plan, key) is not None:
                reader.error(
                    ("network", key), f"{key} and dhcp exclude each other", "remove one of them"
                )
        return
    if plan.prefix is None:
        if ("network", "prefix") not in reader.seen:
            reader.error(
                ("network",),
                "neither prefix nor dhcp is given",
                "write `prefix: 24` for static addresses, or `dhcp: true`",
            )
        return
    lan = _lan(spec, plan, reader)
    for path, member in _members(spec):
        if (
            not member.mac
            and not member.interface
            and not {(*path, "mac"), (*path, "interface")} & reader.seen.keys()
        ):
            reader.error(
                path,
                "a static network needs to know the network card",
                'give the member a `mac` (quoted, "52:54:00:12:34:56") or an `interface`',
            )
        if member.address is None or lan is None:
            continue
        if member.address.version != lan.version or member.address not in lan:
            reader.error(
                (*path, "address"),
                f"{member.address} is outside the network {lan}",
                "check network.prefix, network.gateway and the address",
            )
        elif (
            lan.num_addresses > 2
            and member.address in (lan.network_address, lan.broadcast_address)
            and (lan.version == 4 or member.address == lan.network_address)
        ):
            reader.error(
                (*path, "address"),
                f"{member.address} is the first or last address of {lan}, no host's",
                "choose an address between them",
            )
        if plan.gateway is not None and member.address == plan.gateway:
            reader.error(
                (*path, "address"),
                f"{member.address} is the gateway's",
                "give the member an address of its own",
            )
        for key in ("peer_address", "client_address"):
            own = getattr(member, key)
            further = [i.ip for nic in member.nics or () if nic for i in nic.addresses or () if i]
            dhcp = any(nic.dhcp for nic in member.nics or () if nic)
            if own is not None and own != member.address and own not in further and not dhcp:
                reader.error(
                    (*path, key),
                    f"{own} is on none of this member's NICs",
                    "list it in one of the member's `nics`",
                )
    for index, route in enumerate(plan.routes or ()):
        if route and lan and route.via and route.via not in lan:
            reader.error(
                ("network", "routes", index, "via"),
                f"{route.via} is outside {lan}, so no member can reach it",
                "a router must be on the members' network",
            )


def _lan(spec: Spec, plan: NetworkPlan, reader: Reader) -> Network | None:
    """The members' network, judged by the first member's address."""
    addresses = [member.address for _, member in _members(spec) if member.address]
    if plan.prefix is None or not addresses:
        return None
    first = addresses[0]
    if plan.prefix > first.max_prefixlen:
        reader.error(
            ("network", "prefix"),
            f"{plan.prefix} is too long for {first}",
            f"at most {first.max_prefixlen}",
        )
        return None
    lan = ip_network(f"{first}/{plan.prefix}", strict=False)
    gateway = plan.gateway
    # An IPv6 router is often reached at its link-local address, on any link.
    if gateway and gateway not in lan and not (gateway.version == 6 and gateway.is_link_local):
        reader.error(
            ("network", "gateway"),
            f"{gateway} is outside the members' network {lan}",
            "a gateway must be on the link; check network.prefix",
        )
    return lan


def _check_nic(nic: Nic, path: Path, reader: Reader) -> None:
    if (
        not nic.mac
        and not nic.interface
        and not ({(*path, "mac"), (*path, "interface")} & reader.seen.keys())
    ):
        reader.error(path, "needs a `mac` or an `interface`", "say which network card it is")
    if not nic.addresses and not nic.dhcp and (*path, "addresses") not in reader.seen:
        reader.error(
            path,
            "has neither addresses nor dhcp",
            'write `addresses: ["10.1.0.11/24"]` or `dhcp: true`',
        )
    networks = [interface.network for interface in nic.addresses or () if interface]
    if nic.gateway and not nic.dhcp and not any(nic.gateway in lan for lan in networks):
        reader.error(
            (*path, "gateway"),
            f"{nic.gateway} is on none of this NIC's networks",
            "a gateway must be on the link",
        )


def _check_etcd(spec: Spec, reader: Reader) -> None:
    if spec.distribution in TOO_OLD_FOR_ANY:
        reader.error(
            ("distribution",),
            f"{spec.distribution} has a Python older than 3.10, which first boot needs",
            f"use one of: {', '.join(DISTRIBUTIONS)}",
        )
        return
    if (
        spec.distribution
        and spec.distribution in TOO_OLD
        and spec.install
        and spec.install.mode == "package"
    ):
        reader.error(
            ("distribution",),
            f"{spec.distribution} ships etcd {TOO_OLD[spec.distribution]}, older than 3.4",
            "install an upstream release there, `install: {mode: release, ...}`, or use one of: "
            f"{', '.join(DISTRIBUTIONS)}",
        )
        return
    plan = spec.etcd
    if plan is None or spec.install is None:
        return
    for index, package in enumerate(spec.install.packages or ()):
        name, _, pinned = (package or "").partition("=")
        if name == "etcd-server" and pinned:
            _check_pin(pinned, ("install", "packages", index), reader)
    try:
        version = spec.etcd_version
    except ValueError:
        return  # what settings there are depends on the pin, and that is reported
    if plan.client_port and plan.client_port == plan.peer_port:
        reader.error(("etcd", "peer_port"), "is the client port too", "use two different ports")
    for name, value in (plan.settings or {}).items():
        for what, hint in check_setting(name, value, version):
            reader.error(("etcd", "settings", name), what, hint)
    combined = dict(plan.settings or {}) | own_settings(plan)
    for names, problem in check_combination(combined, version):
        reader.add(_place_of(names, plan), problem.what, problem.hint, problem.severity)
    if plan.metrics_url and check_setting("ETCD_LISTEN_METRICS_URLS", plan.metrics_url, version):
        reader.error(
            ("etcd", "metrics_url"),
            f"{plan.metrics_url} shows metrics to anyone who reaches it, or is no address",
            "use http://127.0.0.1:2381, or https:// with the member's address",
        )


def _check_pin(pinned: str, path: Path, reader: Reader) -> None:
    try:
        version = Version.parse(pinned)
    except ValueError:
        reader.error(path, "pins etcd to what is no version", "such as etcd-server=3.5.16-4")
        return
    if corrupts(version):
        reader.error(
            path,
            f"etcd {pinned} corrupts data under load",
            "use 3.5.3 or newer (etcd-io/etcd#13766)",
        )


#: What means nothing in a mode, and why.
NOT_IN_MODE: Mapping[str, tuple[tuple[str, ...], str]] = {
    "package": (("release", "bundle"), "packages come from the package sources"),
    "release": (("packages", "bundle"), "etcd is downloaded; `extra_packages` is for the rest"),
    "bundle": (
        ("packages", "extra_packages", "apt", "release"),
        "nothing is fetched; list the package's file under `bundle`",
    ),
    "preinstalled": (
        ("packages", "extra_packages", "release", "bundle"),
        "nothing is installed; put it into the image",
    ),
}


def _check_install(spec: Spec, reader: Reader) -> None:
    plan = spec.install
    if plan is None or plan.mode is None:
        return
    names, why = NOT_IN_MODE[plan.mode]
    default = Install()
    for name in names:
        if ("install", name) in reader.seen and getattr(plan, name) != getattr(default, name):
            reader.error(("install", name), f"means nothing in mode {plan.mode}", why)
    if plan.mode == "release":
        _check_release(plan, reader)
    elif plan.mode == "bundle":
        _check_bundle(plan, reader)
    version = plan.release_version
    if version and spec.etcd and spec.etcd.version and str(spec.etcd.version) != version:
        reader.error(
            ("etcd", "version"), f"the release is {version}", "remove this: it follows from that"
        )
    named = [source.name for source in (plan.apt.sources or () if plan.apt else ()) if source]
    for index, name in enumerate(named):
        if name in named[:index]:
            place = ("install", "apt", "sources", index, "name")
            reader.error(place, f"{name} is another source's name", "give each its own")


def _check_release(plan: Install, reader: Reader) -> None:
    path: Path = ("install", "release")
    release = plan.release
    if release is None:
        if path not in reader.seen:
            reader.error(
                ("install",),
                "mode release needs `release`, with `version` and `sha256`",
                "download the archive to a place you trust, and: imagegen pin FILE",
            )
        return
    digests = [seen for seen in reader.seen if seen[:3] == (*path, "sha256")]
    if len(digests) == 1 and release.sha256 == {}:
        reader.error((*path, "sha256"), "names no architecture", "amd64, arm64 or both")
    if release.url:
        names = set(re.findall(r"\{(.*?)\}", release.url))
        for name in sorted(names - {"version", "architecture"}):
            reader.error(
                (*path, "url"), f"{{{name}}} is not known", "use {version} and {architecture}"
            )
        if "@" in release.url.split("/")[2]:
            reader.error(
                (*path, "url"),
                "holds a user name or a password",
                "it would be on every console; serve the archive to whoever asks, it is no secret",
            )
        if len(release.sha256 or ()) > 1 and "architecture" not in names:
            reader.error(
                (*path, "url"),
                "one archive cannot have the digests of two",
                "say {architecture} where the archives' names differ",
            )
    _check_arm(release.version, release.sha256 or (), (*path, "sha256"), reader)


def _check_arm(version: str | None, built: Iterable[str], path: Path, reader: Reader) -> None:
    if version and "arm64" in built and Version.parse(version).minor < 5:
        reader.error(
            path, f"upstream's etcd {version} does not start on arm64", "use 3.5 or newer there"
        )


def _check_bundle(plan: Install, reader: Reader) -> None:
    path: Path = ("install", "bundle")
    files = plan.bundled
    if not plan.bundle:
        if not any(seen[:2] == path for seen in reader.seen):
            reader.error(
                ("install",),
                "mode bundle needs `bundle`, the files that are to travel on the seed",
                "an archive or packages; `imagegen pin FILE...` prints the lines",
            )
        return
    names = [file.name for file in files]
    for index, name in enumerate(names):
        if name in names[:index]:
            reader.error((*path, index), f"{name} is listed twice", "keep one")
    versions = {file.release for file in files}
    if len(versions) > 1:
        reader.error(
            path,
            "archives of one release, or packages; not several releases, nor both",
            f"there are: {', '.join(sorted(names))}",
        )
    elif versions == {None} and not any(name.startswith("etcd-server_") for name in names):
        reader.error(path, "no package brings etcd", "add etcd-server_VERSION_ARCHITECTURE.deb")
    for version in versions - {None}:
        _check_arm(version, [file.architecture for file in files], path, reader)


#: Settings of ours that are etcd variables under a friendlier name.
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


def _place_of(names: Iterable[str], plan: EtcdPlan) -> Path:
    for name in names:
        if name in (plan.settings or {}):
            return ("etcd", "settings", name)
        if name in FRIENDLY and getattr(plan, FRIENDLY[name]) is not None:
            return ("etcd", FRIENDLY[name])
    return ("etcd",)


def _check_data_disk(spec: Spec, reader: Reader) -> None:
    disk, plan = spec.data_disk, spec.etcd
    if disk is None or plan is None:
        return
    directory = plan.data_directory
    if directory and disk.mount_point and not directory.startswith(f"{disk.mount_point}/"):
        reader.error(
            ("etcd", "data_directory"),
            f"{directory} is not below {disk.mount_point}, where the data disk is mounted",
            f"use {disk.mount_point}/data; a disk's own top directory holds lost+found",
        )


def _check_pki(spec: Spec, reader: Reader) -> None:
    plan = spec.pki
    if plan is None:
        return
    if plan.layout == "shared" and not plan.allow_shared_key:
        reader.error(
            ("pki", "layout"),
            "with one key pair on all members, whoever steals it from one is all of them",
            "use layout lab or separate, or accept it with `allow_shared_key: true`",
        )
    elif plan.layout == "shared":
        reader.warning(
            ("pki", "layout"),
            "one key pair serves all members",
            "layout lab keeps its file names with a key for each member",
        )
    if plan.allow_shared_key and plan.layout != "shared":
        reader.error(
            ("pki", "allow_shared_key"),
            f"means nothing in layout {plan.layout}",
            "remove it, or choose layout shared",
        )
    if plan.layout == "shared" and not (plan.imports and plan.imports.shared):
        reader.error(
            ("pki",),
            "layout shared needs the pair it shares",
            "give imports.shared.certificate and .key, and imports.ca_certificate",
        )
    if plan.ca_days and plan.leaf_days and plan.leaf_days > plan.ca_days:
        reader.warning(
            ("pki", "leaf_days"),
            f"leaves end with their CA, after {plan.ca_days} days",
            "raise ca_days",
        )
    if plan.imports:
        _check_imports(spec, plan, plan.imports, reader)


def _check_imports(spec: Spec, plan: PkiPlan, given: Import, reader: Reader) -> None:
    path: Path = ("pki", "imports")
    names = {member.name for _, member in _members(spec)}
    for name in given.members or {}:
        if name not in names:
            reader.error(
                (*path, "members", name),
                "is no member of this cluster",
                f"members: {', '.join(sorted(filter(None, names)))}",
            )
    if given.members:
        for name in sorted(filter(None, names - set(given.members))):
            reader.error(
                (*path, "members"),
                f"{name} is missing",
                "bring a credential for each member, or a CA that signs them",
            )
    if plan.layout == "separate":
        for name, member in (given.members or {}).items():
            if member and member.peer is None:
                reader.error(
                    (*path, "members", name),
                    "peer is missing",
                    "layout separate has two credentials for each member; lab has one",
                )
    else:
        if given.peer_ca or given.peer_ca_certificate:
            key = "peer_ca" if given.peer_ca else "peer_ca_certificate"
            reader.error((*path, key), f"layout {plan.layout} has one CA", "remove it")
    if given.shared and plan.layout != "shared":
        reader.error(
            (*path, "shared"),
            f"means nothing in layout {plan.layout}",
            "choose layout shared, or list the members' own credentials",
        )
    ready_made = bool(given.members) or given.shared is not None
    if ready_made and not given.ca_certificate and not given.ca:
        reader.error(
            path,
            "ca_certificate is missing",
            "ready-made certificates are checked against their CA",
        )
    if (
        ready_made
        and plan.layout == "separate"
        and not (given.peer_ca_certificate or given.peer_ca)
    ):
        reader.error(
            path,
            "peer_ca_certificate is missing",
            "layout separate keeps peers and clients under two CAs",
        )
    for ca, certificate in (("ca", "ca_certificate"), ("peer_ca", "peer_ca_certificate")):
        if getattr(given, ca) and getattr(given, certificate):
            reader.error((*path, certificate), f"{ca} already says which CA", "remove one of them")


#: Keys of cloud-config that decide who a member is, or that its image must not change.
NOT_EXTRA: Mapping[str, str] = {
    **dict.fromkeys(
        ("hostname", "fqdn", "preserve_hostname"), "a machine is called as its member is"
    ),
    "manage_etc_hosts": "list names for /etc/hosts under `hosts`",
    "network": "user-data cannot set up the network; see the spec's `network`",
}
#: What ours and the operator's are appended in.
APPENDED = ("write_files", "runcmd", "users", "ssh_authorized_keys")


def _check_extra(spec: Spec, reader: Reader) -> None:
    extra = spec.extra_user_data or {}
    taken = {"apt": spec.install and spec.install.apt, "ntp": spec.ntp}
    for key, value in extra.items():
        path: Path = ("extra_user_data", key)
        if key in NOT_EXTRA:
            reader.error(path, "is ours to set", NOT_EXTRA[key])
        elif taken.get(key):
            setting_name = "install.apt" if key == "apt" else key
            reader.error(path, f"{setting_name} sets it already", "keep one of the two")
        elif key in APPENDED and not isinstance(value, list):
            reader.error(path, "must be a list", "it is appended to ours")
        elif "PRIVATE KEY-----" in str(value):
            reader.warning(
                path, "holds a private key", "it travels in user-data wherever that goes"
            )
    for index, file in enumerate(_listed(extra.get("write_files"))):
        if not isinstance(file, dict) or not isinstance(file.get("path"), str):
            reader.error(
                ("extra_user_data", "write_files", index),
                "must be a mapping with a path that is text",
                'such as {path: /etc/motd, content: "..."}',
            )
    named = {user.name for user in spec.users or () if user}
    for index, user in enumerate(_listed(extra.get("users"))):
        name = user.get("name") if isinstance(user, dict) else user
        if isinstance(name, str) and name in named:
            reader.error(
                ("extra_user_data", "users", index), f"{name} is in `users` already", "keep one"
            )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


CHECKS: tuple[Callable[[Spec, Reader], None], ...] = (
    _check_size,
    _check_unique,
    _check_reachable,
    _check_network,
    _check_install,
    _check_etcd,
    _check_data_disk,
    _check_pki,
    _check_extra,
)
