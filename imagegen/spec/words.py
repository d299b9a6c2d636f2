"""The words of a spec: addresses, names, paths, times, sizes and digests."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TypeAlias, TypeVar

from imagegen.base.instants import parse_instant
from imagegen.etcd.versions import parse_release
from imagegen.spec.kinds import Parsed, Text

T = TypeVar("T")

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface
Network: TypeAlias = IPv4Network | IPv6Network

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _zone_free(text: str) -> str:
    if "%" in text:
        raise ValueError("a zone index means nothing on another machine")
    return text


def parse_address(text: str) -> Address:
    """An address a member can be reached at; ValueError says why it is not one."""
    address = ip_address(_zone_free(text))
    if address.is_multicast or address.is_unspecified:
        raise ValueError("that address belongs to no single machine")
    return address


def parse_mac(text: str) -> str:
    """A unicast MAC address in the lower case that cloud-init compares with."""
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError("that is a multicast address")
    return mac


def parse_size(text: str) -> int:
    """Bytes, from digits and one of B, KiB, MiB, GiB."""
    digits = text.rstrip(" BKMGi")
    unit = text[len(digits) :].strip()
    return int(digits) * int(1024 ** ("B", "KiB", "MiB", "GiB").index(unit))


def _quiet(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Like ``parse``, but without ipaddress repeating the value in its reason."""

    def quiet(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            if "does not appear to be" in str(error):
                raise ValueError("") from None
            raise

    return quiet


def _no_dots(text: str) -> str:
    if {".", ".."} & set(text.split("/")):
        raise ValueError("'.' and '..' are not allowed")
    return text


HOST_LABEL = Text(
    what="a host name",
    pattern=LABEL,
    hint="lower-case letters, digits and '-', at most 63, not '-' at an end (RFC 1123)",
)
DNS_NAME = Text(
    what="a DNS name",
    pattern=rf"(?=.{{1,253}}$)(\*\.)?{LABEL}(\.{LABEL})*",
    hint="labels of lower-case letters, digits and '-' joined by '.' (RFC 1123)",
)
ADDRESS = Parsed(what="an IP address", parse=_quiet(parse_address), hint="such as 10.240.0.11")
INTERFACE = Parsed(
    what="an address with its prefix length",
    pattern=r"[^/]+/[0-9]+",
    parse=_quiet(lambda text: ip_interface(_zone_free(text))),
    hint="such as 10.240.0.11/24",
)
NETWORK = Parsed(
    what="a network",
    parse=_quiet(lambda text: ip_network(_zone_free(text))),
    hint="such as 10.0.0.0/8, host bits zero",
)
MAC = Text(
    what="a MAC address",
    pattern=r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}",
    parse=parse_mac,
    hint='six quoted pairs of hex digits, such as "52:54:00:12:34:56"',
)
INTERFACE_NAME = Text(
    what="a network interface's name", pattern=r"[a-zA-Z0-9_.-]{1,15}", hint="such as ens3"
)
ABSOLUTE_PATH = Text(
    what="an absolute path",
    pattern=r"(/[A-Za-z0-9._@:+-]+)+",
    parse=_no_dots,
    hint="letters, digits and ._@:+- between slashes, such as /var/lib/etcd",
)
FILE_NAME = Text(
    what="a file name",
    pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
    hint="letters, digits and ._- only, such as kubernetes.pem",
)
INSTANT = Parsed(
    what="a time",
    parse=parse_instant,
    hint='RFC 3339 in quotes, such as "2026-12-01T00:00:00Z"',
)
URL = Text(
    what="a URL",
    pattern=r"https?://[^\s/?#\"']+(/[^\s\"']*)?",
    hint="such as http://mirror.example.org/debian",
)
SIZE = Parsed(
    what="a size", pattern=r"[0-9]{1,15} ?(B|KiB|MiB|GiB)", parse=parse_size, hint="such as 8GiB"
)
LINE = Text(what="a line of text", pattern=r"[^\x00-\x1f\x7f]+", hint="no line breaks")
SHA256 = Text(
    what="a SHA-256",
    pattern=r"[0-9a-fA-F]{64}",
    parse=str.lower,
    hint="64 hexadecimal digits; `imagegen pin FILE` prints it",
)
ETCD_VERSION = Parsed(
    what="an etcd version",
    pattern=r"3\.[0-9]+(\.[0-9]+)?",
    parse=parse_release,
    hint='quoted, such as "3.5" or "3.5.16"',
)
PACKAGE = Text(
    what="a package",
    pattern=r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?",
    hint="a name, or name=version",
)
SSH_PUBLIC_KEY = Text(
    what="an SSH public key",
    pattern=r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f-\x9f]*)?",
    hint="one line of an authorized_keys file",
)
