"""A member's user-data, judged by what it says itself.

It carries certificates, settings and IDs, which must agree with one another.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imagegen.base.problems import Problem
from imagegen.cluster.cluster import cluster_id, hex_id, member_id
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.landing import clashes, made_by_first_boot, mounted_by, written_by
from imagegen.pki.faults import check_credential
from imagegen.pki.leaves import Leaf, Role
from imagegen.pki.model import Credential
from imagegen.pki.pem import Address, certificates_in, common_name_of, describe, private_key_in
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER, nested_too_deep

#: How to mend what a build has made, and something has changed since.
FORCE = "build again with --force"
_PREFIXES = ("client", "peer")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDocuments:
    """One member's user-data, taken apart; what could not be read is empty and a problem."""

    where: str
    files: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str]
    config: Mapping[str, Any]
    #: The whole document, as cloud-init loads it.
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Private keys that came beside user-data, by file name.
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    unreadable: tuple[Problem, ...] = ()

    @classmethod
    def read(
        cls, where: str, user_data: bytes, keys: Mapping[str, str] | None = None
    ) -> MemberDocuments:
        """Take user-data apart; ``keys`` came beside it."""
        problems: list[Problem] = []
        files: dict[str, str] = {}
        document = mapping_in(user_data)
        # Of an entry that is not a mapping, inspect_documents says what cloud-init minds.
        for file in mappings_in(document.get("write_files")):
            files[str(file.get("path"))] = str(file.get("content"))
        config: Mapping[str, Any] = {}
        settings: Mapping[str, str] = {}
        try:
            config = json.loads(files.get(guest.CONFIG, "{}"))
            if config and not _is_config(config):
                problems.append(error_at(where, f"{guest.CONFIG} is not for first boot", FORCE))
                config = {}
        except (ValueError, RecursionError):
            problems.append(error_at(where, f"{guest.CONFIG} is no JSON", FORCE))
        try:
            settings = parse_env(files.get(guest.ETCD_DEFAULTS, ""))
        except ValueError:
            problems.append(error_at(where, f"{guest.ETCD_DEFAULTS} is unreadable", FORCE))
        return cls(
            where=where,
            files=files,
            settings=settings,
            config=config,
            document=document,
            keys=keys or {},
            unreadable=tuple(problems),
        )

    @property
    def secrets(self) -> str:
        """How first boot expects the private keys to come."""
        return str(self.config["keys"].get("secrets")) if self.config else Secrets.EMBED

    def key_paths(self) -> set[str]:
        """Where the member's private keys will be."""
        return {self.config["tls"][f"{prefix}_key"] for prefix in _PREFIXES if self.config}

    def key_at(self, path: str) -> str | None:
        """The private key that will be at ``path``, if it is known here."""
        if self.secrets == Secrets.EMBED:
            return self.files.get(path)
        return self.keys.get(Path(path).name)

    def problems(self, now: datetime) -> Iterator[Problem]:
        """What first boot and etcd would mind; nothing for documents of other tools."""
        yield from self.unreadable
        if self.config:
            yield from self._landing_problems()
            yield from self._firstboot_problems()
            yield from self._settings_problems()
            yield from self._credential_problems(now)

    def _landing_problems(self) -> Iterator[Problem]:
        """Two files at one path, or a file that a mount hides."""
        config = self.config
        disk, install = config.get("data_disk"), config.get("install")
        data, wal = (_path_in(config, name) for name in ("data_dir", "wal_dir"))
        found = (
            *written_by(self.document),
            *made_by_first_boot(
                data_directory=data or "",
                wal_directory=wal,
                mount_point=_path_in(disk, "mount_point"),
                release=isinstance(install, dict) and bool(install.get("version")),
            ),
            *mounted_by(self.document),
        )
        for problem in clashes(found):
            yield replace(
                problem, where=self.where, hint="change the spec, then build with --force"
            )

    def _firstboot_problems(self) -> Iterator[Problem]:
        """What keeps first boot from being run, or etcd from waiting for it."""
        wanted = {
            guest.PROGRAM: ("#!",),
            guest.FIRSTBOOT_UNIT: (f"ExecStart={guest.PROGRAM} run",),
            guest.ETCD_DROPIN: (
                f"ConditionPathExists={guest.GATE}",
                f"ExecCondition=+{guest.PROGRAM} start-check",
            ),
        }
        for path, lines in wanted.items():
            text = self.files.get(path)
            if text is None:
                yield error_at(self.where, f"{path} is not in write_files", FORCE)
                continue
            for line in lines:
                if not re.search(f"^{re.escape(line)}", text, re.MULTILINE):
                    yield error_at(self.where, f"{path} lacks {line}", FORCE)
        unit = guest.FIRSTBOOT_UNIT.rpartition("/")[2]
        commands = self.document.get("runcmd")
        start = ["systemctl", "start", "--no-block", unit]
        if not isinstance(commands, list) or start not in commands:
            yield error_at(self.where, f"runcmd does not start {unit}", FORCE)
        name = self.config["member"]
        if (hostname := self.document.get("hostname")) != name:
            yield error_at(self.where, f"hostname is {hostname!r}, of the member {name}", FORCE)

    def _settings_problems(self) -> Iterator[Problem]:
        settings, config = self.settings, self.config
        hint = "change the spec, then build with --force"
        initial = dict(
            entry.partition("=")[::2]
            for entry in settings.get("ETCD_INITIAL_CLUSTER", "").split(",")
        )
        name = settings.get("ETCD_NAME", "")
        own = initial.get(name)
        if own is None:
            yield error_at(self.where, f"ETCD_NAME {name!r} is not in ETCD_INITIAL_CLUSTER", hint)
        elif own != settings.get("ETCD_INITIAL_ADVERTISE_PEER_URLS"):
            yield error_at(
                self.where,
                "ETCD_INITIAL_ADVERTISE_PEER_URLS is not what ETCD_INITIAL_CLUSTER says",
                hint,
            )
        token = settings.get("ETCD_INITIAL_CLUSTER_TOKEN", "")
        ids = [member_id([url], token) for url in initial.values()]
        # What came in later was not there to be hashed.
        bootstraps = settings.get("ETCD_INITIAL_CLUSTER_STATE") != "existing"
        if bootstraps and hex_id(cluster_id(ids)) != config.get("cluster_id"):
            yield error_at(
                self.where,
                "token and peer URLs do not give the cluster ID that first boot expects",
                hint,
            )
        for setting, expected in self._told_twice():
            if own is not None and settings.get(setting) != expected:
                yield error_at(
                    self.where,
                    f"{setting} is {settings.get(setting)!r}, and first boot expects {expected!r}",
                    hint,
                )
        for setting in ("ETCD_CLIENT_CERT_AUTH", "ETCD_PEER_CLIENT_CERT_AUTH"):
            if settings.get(setting) != "true":
                yield error_at(self.where, f"{setting} is not true: etcd would let anyone in", hint)
        for setting in ("ETCD_LISTEN_CLIENT_URLS", "ETCD_LISTEN_PEER_URLS"):
            if any(not url.startswith("https:") for url in settings.get(setting, "").split(",")):
                yield error_at(self.where, f"{setting} has a URL that is not https", hint)
        for setting, path in settings.items():
            known = path in self.files or (self.secrets != Secrets.EMBED and "_KEY_" in setting)
            if setting.endswith("_FILE") and not known:
                yield error_at(self.where, f"{setting}: {path} is not in write_files", hint)
        crl = self.files.get(settings.get("ETCD_CLIENT_CRL_FILE", ""))
        if crl is not None and not _is_crl(crl):
            yield error_at(
                self.where,
                "ETCD_CLIENT_CRL_FILE is no revocation list: etcd would let no client in",
                FORCE,
            )

    def _told_twice(self) -> Iterator[tuple[str, Any]]:
        """What etcd is told and the first-boot program too; files are looked for apart."""
        config, tls = self.config, self.config["tls"]
        yield "ETCD_NAME", config["member"]
        yield "ETCD_DATA_DIR", config.get("data_dir")
        yield "ETCD_INITIAL_CLUSTER_STATE", config.get("initial_cluster_state")
        yield "ETCD_INITIAL_ADVERTISE_PEER_URLS", config.get("peer_url")
        yield "ETCD_ADVERTISE_CLIENT_URLS", config.get("client_url")
        for kind, prefix in (("", "client"), ("PEER_", "peer")):
            yield f"ETCD_{kind}CERT_FILE", tls[f"{prefix}_cert"]
            yield f"ETCD_{kind}KEY_FILE", tls[f"{prefix}_key"]
            yield f"ETCD_{kind}TRUSTED_CA_FILE", tls[f"{prefix}_ca"]

    def _credential_problems(self, now: datetime) -> Iterator[Problem]:
        tls = self.config["tls"]
        name = self.config["member"]
        # With one credential for both, what is wrong with it is said once.
        told: set[Problem] = set()
        for prefix, role in zip(_PREFIXES, (Role.SERVER, Role.PEER), strict=True):
            paths = [tls[f"{prefix}_{part}"] for part in ("cert", "ca", "key")]
            key = self.key_at(paths[2])
            missing = [path for path in paths[:2] if path not in self.files]
            if key is None and self.secrets == Secrets.EMBED:
                missing.append(paths[2])
            if missing:
                yield error_at(self.where, f"{missing[0]} is not in write_files", FORCE)
                continue
            if self.secrets != Secrets.EMBED and paths[2] in self.files:
                yield error_at(self.where, f"{paths[2]} is in user-data", FORCE)
            if key is None:
                continue  # it is not here to be looked at: a seed on its own
            certificate, ca = (self.files[path] for path in paths[:2])
            address = _host(self.config[f"{prefix}_url"])
            needed = frozenset({address} if address else ())
            leaf = Leaf(owner=name, role=role, common_name="", days=0, needed=needed)
            problems = check_credential(
                Credential(certificate_pem=certificate, key_pem=key), leaf, ca_pem=ca, now=now
            )
            found = {replace(problem, where=f"{self.where}: {paths[0]}") for problem in problems}
            yield from sorted(found - told, key=str)
            told |= found
        allowed = self.settings.get("ETCD_PEER_CERT_ALLOWED_CN")
        with suppress(ValueError):
            [peer, *_] = certificates_in(self.files.get(tls["peer_cert"], ""))
            if allowed and (common_name := common_name_of(peer)) != allowed:
                yield error_at(
                    f"{self.where}: {tls['peer_cert']}",
                    f"its common name is {common_name!r}, and peers let in {allowed!r} only",
                    FORCE,
                )

    def serials(self) -> dict[str, str]:
        """The serials of the member's certificates, by path, as the manifest has them."""
        found = {}
        for prefix in _PREFIXES if self.config else ():
            path = self.config["tls"][f"{prefix}_cert"]
            with suppress(ValueError):
                found[path] = f"{describe(self.files.get(path, '')).serial:x}"
        return found

    def authorities(self, part: str) -> frozenset[bytes]:
        """The fingerprints of the CAs it trusts as ``client_ca`` or ``peer_ca``."""
        if not self.config:
            return frozenset()
        try:
            certificates = certificates_in(self.files.get(self.config["tls"][part], ""))
        except ValueError:
            return frozenset()  # reported with the credential it is to vouch for
        return frozenset(map(fingerprint, certificates))

    def key_identities(self) -> Iterator[bytes]:
        """The public halves of all private keys in here, so that keys can be compared."""
        seen = set()
        for text in (*self.files.values(), *self.keys.values()):
            if "PRIVATE KEY-----" in text and text not in seen:
                seen.add(text)
                try:
                    key = private_key_in(text)
                except ValueError:
                    continue  # reported with the credential it belongs to
                yield key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def authority_keys(self) -> Iterator[bytes]:
        """The public keys of all CAs in here."""
        for text in set(self.files.values()):
            if "BEGIN CERTIFICATE" not in text:
                continue
            try:
                certificates = certificates_in(text)
            except ValueError:
                continue  # reported with the credential it belongs to
            for certificate in certificates:
                try:
                    constraints = certificate.extensions.get_extension_for_class(
                        x509.BasicConstraints
                    )
                except x509.ExtensionNotFound:
                    continue
                if constraints.value.ca:
                    yield certificate.public_key().public_bytes(
                        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                    )


def mapping_in(data: bytes) -> Mapping[str, Any]:
    """A YAML mapping; an empty one for anything else, which `inspect_documents` reports."""
    try:
        deep = nested_too_deep(data)
        value = None if deep else yaml.load(data, Loader=LOADER)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError):
        value = None
    return value if isinstance(value, dict) else {}


def mappings_in(value: object) -> list[dict[Any, Any]]:
    """The mappings that a list holds; nothing for a value that is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _path_in(value: object, name: str) -> str | None:
    """The absolute path that a mapping has under a name, if it has one."""
    path = value.get(name) if isinstance(value, dict) else None
    return path if isinstance(path, str) and path.startswith("/") else None


def _is_config(config: object) -> bool:
    """Whether member.json has what is looked at here."""
    if not isinstance(config, dict):
        return False
    tls, keys = config.get("tls"), config.get("keys")
    texts = [config.get(key) for key in ("member", "client_url", "peer_url")]
    for prefix in _PREFIXES:
        for part in ("cert", "ca", "key"):
            texts.append(tls.get(f"{prefix}_{part}") if isinstance(tls, dict) else None)
    return isinstance(keys, dict) and all(isinstance(text, str) for text in texts)


def _host(url: str) -> Address | None:
    try:
        return ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return None


def _is_crl(encoded: str) -> bool:
    try:
        x509.load_der_x509_crl(base64.b64decode(encoded))
    except ValueError:
        return False
    return True


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Its SHA-256, by which two certificates are the same one."""
    return certificate.fingerprint(SHA256())


def error_at(where: object, what: str, hint: str) -> Problem:
    """An error about a place: a path, or words that name one."""
    return Problem(where=str(where), what=what, hint=hint)
