"""An entry of ``write_files``: what cloud-init would write, with which mode and owner."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from imagegen.judge.seed.document import GZIP, gunzip
from imagegen.judge.seed.findings import Findings, shown
from imagegen.judge.seed.limited_yaml import YamlDocument, items, word
from imagegen.judge.seed.report import CertificateReport, WrittenFile

#: The head of a private key in PEM, of whatever kind.
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_ENCODINGS = {
    "": (),
    "text/plain": (),
    **dict.fromkeys(("b64", "base64"), ("base64",)),
    **dict.fromkeys(("gz", "gzip"), ("gzip",)),
    **dict.fromkeys(("gz+b64", "gz+base64", "gzip+b64", "gzip+base64"), ("base64", "gzip")),
}
_DEFAULT_MODE = 0o644
_MODES = range(0o10000)
# The users and groups of Debian and Ubuntu images: write_files runs before
# cloud-init's users and packages add theirs.
_BASE_OWNERS = frozenset((
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp",
    "proxy", "www-data", "backup", "list", "irc", "nobody", "_apt", "messagebus", "sshd",
    "systemd-network", "systemd-resolve", "systemd-timesync", "syslog", "adm", "tty", "disk",
    "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape", "sudo", "audio", "dip",
    "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff", "users",
    "nogroup", "input", "render", "kvm", "crontab", "systemd-journal",
))  # fmt: skip
_Warn = Callable[[str, str, str], None]


def written_file(
    name: str, document: YamlDocument, index: int, found: Findings
) -> WrittenFile | None:
    """What cloud-init would make of one entry; None for one without a path."""
    entry = items(document.value.get("write_files"))[index]

    def warn(key: str, what: str, hint: str) -> None:
        where = f"write_files[{index}]" + (f".{key}" if key else "")
        mark = document.mark("write_files", index, key)
        found.warn(name, f"{where}: {what}", hint, mark)

    path = word(entry.get("path")) if isinstance(entry, dict) else ""
    if not path:
        warn("", "no path: cloud-init cannot write it", "give it a path")
        return None
    if not path.startswith("/"):
        warn("path", "not an absolute path", "start it with /")

    content = _content(entry, warn)
    private_keys = len(PRIVATE_KEY.findall(content))
    node = document.at("write_files", index, "permissions")
    mode = _mode(entry.get("permissions"), node, warn)
    if private_keys and mode & 0o004:
        warn("permissions", "everyone could read this private key", "say permissions: '0600'")
    owner = word(entry.get("owner")) or "root:root"
    deferred = word(entry.get("defer")).lower() in ("true", "yes", "on", "1")
    _check_owner(owner, deferred, warn)
    return WrittenFile(
        path=shown(path),
        size=len(content),
        mode=f"{mode:04o}",
        owner=shown(owner),
        deferred=deferred,
        private_keys=private_keys,
        certificates=tuple(_certificates(content, warn)),
    )


def encoding_of(entry: Mapping[Any, Any]) -> str:
    """How an entry's content is encoded, in the words of cloud-init; empty for plain text."""
    return word(entry.get("encoding")).lower().strip()


def _content(entry: Mapping[Any, Any], warn: _Warn) -> bytes:
    """Decode what an entry of write_files would write."""
    content = entry.get("content")
    data = content if isinstance(content, bytes) else word(content).encode()
    steps = _ENCODINGS.get(encoding_of(entry))
    if steps is None:
        steps = ()
        warn("encoding", "unknown: the content is written as it stands", "use b64 or gz+b64")
    if "base64" in steps:
        try:
            data = base64.b64decode(data)
        except ValueError:
            warn("content", "not base64: cloud-init stops writing files here", "encode it again")
            return b""
    if "gzip" in steps:
        if not data.startswith(GZIP):
            warn("content", "not gzip data: cloud-init stops writing files here", "compress it")
        data = gunzip(data)
    return data


def _mode(permissions: Any, node: yaml.Node | None, warn: _Warn) -> int:
    """Compute the mode as cloud-init does."""
    if permissions is None:
        return _DEFAULT_MODE
    number = isinstance(permissions, int | float)
    try:
        mode = int(permissions) if number else int(word(permissions), 8)
    except (ValueError, OverflowError):
        mode = -1
    if mode not in _MODES:
        warn("permissions", f"no octal mode: it becomes {_DEFAULT_MODE:04o}", "say '0600'")
        return _DEFAULT_MODE
    # YAML reads 0600 as octal, which is what was meant, but 600 as decimal.
    if number and isinstance(node, yaml.ScalarNode) and not node.value.startswith("0"):
        warn(
            "permissions",
            f"{permissions} without quotes is a decimal number, mode {mode:04o}",
            "quote it: '0600'",
        )
    return mode


def _check_owner(owner: str, deferred: bool, warn: _Warn) -> None:
    for name in filter(None, map(str.strip, owner.split(":", 1))):
        if name.isdecimal():
            warn(
                "owner",
                "a number: cloud-init knows names only, and stops writing files here",
                "give names, such as root:root",
            )
            return
        if not deferred and name not in _BASE_OWNERS:
            warn(
                "owner",
                f"{shown(name)} may not exist yet: files are written before packages "
                "and users, and cloud-init would stop writing files here",
                "add defer: true, or leave it to root and change the owner later",
            )
            return


def _certificates(content: bytes, warn: _Warn) -> Iterator[CertificateReport]:
    encoded = _CERTIFICATE.findall(content)
    if not encoded:
        return
    from cryptography import x509  # for the few seeds that hold certificates

    for pem in encoded:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            sans = [
                shown(str(name.value))
                for extension in certificate.extensions
                if isinstance(extension.value, x509.SubjectAlternativeName)
                for name in extension.value
            ]
            yield CertificateReport(
                subject=shown(certificate.subject.rfc4514_string()),
                sans=tuple(sans),
                not_after=certificate.not_valid_after_utc,
            )
        # cryptography parses as it goes, and what it raises then is not documented.
        except Exception:
            warn("content", "it holds a certificate that cannot be read", "issue it again")
