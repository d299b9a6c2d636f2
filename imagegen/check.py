"""``imagegen check``: every problem of a spec, an output directory or a seed.

Artifacts are judged by what they say themselves: the manifest names every file
and its digest, and each member's user-data carries its certificates, settings
and IDs, which must agree with one another.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from imagegen import guest
from imagegen.build import load_spec
from imagegen.certificates import (
    Credential,
    Leaf,
    Role,
    certificates_in,
    check_credential,
    private_key_in,
)
from imagegen.cluster import cluster_id, hex_id, member_id
from imagegen.env_file import parse_env
from imagegen.errors import ImagegenError, Problem, Severity
from imagegen.fields import LOADER, nested_too_deep
from imagegen.inspect import inspect_seed
from imagegen.manifest import files_in, read_manifest
from imagegen.output import CLIENT, MANIFEST, MEMBERS, ROLLOUTS
from imagegen.seed import read_seed

_ISO_MAGIC = (32769, b"CD001")
#: Seeds are kilobytes; nothing larger is read to be judged as one.
LARGEST_IMAGE = 256 * 1024 * 1024


def check_path(path: Path, *, now: datetime) -> list[Problem]:
    """Every problem of whatever ``path`` is: a spec, an output directory or an ISO.

    Raises:
        ImagegenError: it is none of them, or cannot be read.
    """
    if path.is_dir():
        return check_output(path, now=now)
    try:
        with path.open("rb") as file:
            file.seek(_ISO_MAGIC[0])
            is_image = file.read(5) == _ISO_MAGIC[1] or path.suffix.lower() == ".iso"
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None
    if is_image:
        return check_image(path, now=now)
    try:
        return list(load_spec(path, now=now).warnings)
    except ImagegenError as error:
        return list(error.problems)


def read_image(path: Path) -> bytes:
    """A disk image's bytes.

    Raises:
        ImagegenError: it cannot be read, or is far too large for a seed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_IMAGE + 1)
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None
    if len(data) > LARGEST_IMAGE:
        raise ImagegenError("is too large for a seed", where=str(path), hint="256 MiB at most")
    return data


def check_image(path: Path, *, now: datetime) -> list[Problem]:
    """What cloud-init, and then etcd, would mind about a seed."""
    try:
        data = read_image(path)
        problems = list(inspect_seed(data, source=str(path)).problems)
        user_data = read_seed(data, source=str(path)).find("user-data")
    except ImagegenError as error:
        return list(error.problems)
    if user_data:
        member = MemberDocuments.read(f"{path}: user-data", user_data.content)
        problems += member.problems(now)
    return problems


def check_output(directory: Path, *, now: datetime) -> list[Problem]:
    """Every problem of an output directory: one cluster's, or the root of several."""
    if (directory / MANIFEST).exists():
        return list(_check_cluster(directory, now))
    clusters = sorted(path.parent for path in directory.glob(f"*/{MANIFEST}"))
    if not clusters:
        return [
            Problem(
                where=str(directory),
                what=f"holds no {MANIFEST}, nor does a directory in it",
                hint="name the directory that `imagegen build --output` wrote",
            )
        ]
    return [problem for path in clusters for problem in _check_cluster(path, now)]


def _check_cluster(directory: Path, now: datetime) -> Iterator[Problem]:
    try:
        manifest = read_manifest(directory)
    except ImagegenError as error:
        yield from error.problems
        return
    assert manifest is not None  # for mypy: the caller saw the file
    yield from _check_modes(directory)
    yield from _check_files(directory, files_in(manifest))
    members: dict[str, MemberDocuments] = {}
    instance_ids: dict[str, str] = {}
    for entry in manifest["members"]:
        name = entry["name"]
        base = directory / MEMBERS / name
        documents = _documents(base)
        if "user-data" not in documents:
            continue  # its absence is reported with the files
        member = MemberDocuments.read(
            str(base / "user-data"), documents["user-data"], _keys_beside(base)
        )
        members[name] = member
        yield from member.problems(now)
        yield from _check_entry(entry, manifest, member, base)
        yield from _check_meta(documents.get("meta-data", b""), member, instance_ids, base)
        if (base / "seed.iso").is_file():
            yield from _check_seed(base / "seed.iso", documents)
    present = {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }
    for path in sorted(present - files_in(manifest).keys() - {MANIFEST}):
        # What an operator keeps beside their credentials is their own.
        if path.partition("/")[0] in (CLIENT, *ROLLOUTS):
            continue
        yield _error(directory / path, "is not in the manifest", "remove it, or build again")
    yield from _check_together(members)
    yield from _check_foreign_keys(members, directory)


def _check_modes(directory: Path) -> Iterator[Problem]:
    for path in [directory, *sorted(directory.rglob("*"))]:
        if path.is_symlink():
            yield _error(path, "is a symbolic link", "imagegen writes none; build again")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            allowed = "0700" if path.is_dir() else "0600"
            yield _error(
                path, f"has mode {mode:04o}, and others may read keys", f"chmod {allowed} {path}"
            )


def _check_files(directory: Path, files: Mapping[str, Any]) -> Iterator[Problem]:
    for name, expected in files.items():
        path = directory / name
        try:
            data = path.read_bytes()
        except OSError as error:
            yield _error(path, f"cannot be read: {error.strerror}", "build again")
            continue
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            yield _error(
                path,
                "differs from what was built",
                "change the spec or a template, then build with --force",
            )


def _documents(base: Path) -> dict[str, bytes]:
    documents = {}
    for name in ("user-data", "meta-data", "network-config"):
        if (base / name).is_file():
            documents[name] = (base / name).read_bytes()
    return documents


def _keys_beside(base: Path) -> dict[str, str]:
    """The private keys that travel apart from a member's user-data, by file name."""
    keys = {path.name: path.read_bytes() for path in (base / "keys").glob("*") if path.is_file()}
    if (base / "keys.iso").is_file():
        try:
            disk = read_seed(read_image(base / "keys.iso"))
        except ImagegenError:
            return {}  # that it differs from what was built is reported with the files
        keys |= {file.name: file.content for file in disk.files}
    return {name: data.decode("utf-8", "replace") for name, data in keys.items()}


def _check_seed(path: Path, documents: Mapping[str, bytes]) -> Iterator[Problem]:
    try:
        data = read_image(path)
        report = inspect_seed(data, source=str(path))
        seed = read_seed(data, source=str(path))
    except ImagegenError as error:
        yield from error.problems
        return
    yield from report.problems
    for name, content in documents.items():
        file = seed.find(name)
        if file is None or file.content != content:
            yield _error(path, f"its {name} is not the one beside it", "build again with --force")


def _check_entry(
    entry: Mapping[str, Any], manifest: Mapping[str, Any], member: MemberDocuments, base: Path
) -> Iterator[Problem]:
    for key, expected in (
        ("member", entry["name"]),
        ("member_id", entry["member_id"]),
        ("cluster", manifest["cluster"]),
        ("cluster_id", manifest["cluster_id"]),
    ):
        if member.config and member.config.get(key) != expected:
            yield _error(
                base / "user-data",
                f"{guest.CONFIG} says {key} {member.config.get(key)}, the manifest {expected}",
                "build again with --force",
            )
    token = member.settings.get("ETCD_INITIAL_CLUSTER_TOKEN")
    if member.settings and token != manifest["token"]:
        yield _error(
            base / "user-data",
            f"its token is {token}, the manifest's {manifest['token']}",
            "build again with --force",
        )


def _check_meta(
    data: bytes, member: MemberDocuments, seen: dict[str, str], base: Path
) -> Iterator[Problem]:
    try:
        deep = nested_too_deep(data)
        meta = None if deep else yaml.load(data, Loader=LOADER)  # noqa: S506  # a safe loader
    except yaml.YAMLError:
        meta = None
    if not isinstance(meta, dict):
        yield _error(base / "meta-data", "is no YAML mapping", "build again with --force")
        return
    identifier = str(meta.get("instance-id"))
    if identifier in seen:
        yield _error(
            base / "meta-data",
            f"has the instance-id of {seen[identifier]}",
            "each machine needs its own; build again with --force",
        )
    seen.setdefault(identifier, base.name)
    if member.config and member.config.get("instance_id") != identifier:
        yield _error(
            base / "meta-data",
            "its instance-id is not the one user-data was made for",
            "build again with --force",
        )


def _check_together(members: Mapping[str, MemberDocuments]) -> Iterator[Problem]:
    for setting in ("ETCD_INITIAL_CLUSTER", "ETCD_INITIAL_CLUSTER_TOKEN"):
        values: dict[str | None, str] = {}
        for name, member in members.items():
            if member.settings:
                values.setdefault(member.settings.get(setting), name)
        if len(values) > 1:
            first, second = list(values.values())[:2]
            yield _error(
                members[second].where,
                f"{setting} differs from that of {first}",
                "build the whole cluster again with --force",
            )


def _check_foreign_keys(
    members: Mapping[str, MemberDocuments], directory: Path
) -> Iterator[Problem]:
    """No member's documents hold another's key, nor any a CA's."""
    owners: dict[bytes, str] = {}
    for name, member in members.items():
        for key in member.key_identities():
            owner = owners.setdefault(key, name)
            if owner != name:
                yield Problem(
                    where=member.where,
                    what=f"holds the same private key as {owner}",
                    hint="whoever steals one has both; layouts separate and lab have one for each",
                    severity=Severity.WARNING,
                )
    for name, member in members.items():
        for identity in member.authorities():
            if identity in owners:
                yield _error(
                    directory / MEMBERS / name,
                    "a member's documents hold the private key of a CA",
                    "revoke that CA: whoever reads the seed can sign certificates",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDocuments:
    """One member's user-data, taken apart; what could not be read is empty and a problem."""

    where: str
    files: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str]
    config: Mapping[str, Any]
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
        try:
            if nested_too_deep(user_data):
                raise ValueError
            document = yaml.load(user_data, Loader=LOADER)  # noqa: S506  # a safe loader
            for file in document["write_files"]:
                files[str(file["path"])] = str(file["content"])
        except (yaml.YAMLError, TypeError, KeyError, ValueError):
            pass  # a seed of someone else's; what cloud-init minds, inspect says
        config: Mapping[str, Any] = {}
        settings: Mapping[str, str] = {}
        try:
            config = json.loads(files.get(guest.CONFIG, "{}"))
        except ValueError:
            problems.append(_error(where, f"{guest.CONFIG} is no JSON", "build again"))
        try:
            settings = parse_env(files.get(guest.ETCD_DEFAULTS, ""))
        except ValueError:
            problems.append(_error(where, f"{guest.ETCD_DEFAULTS} is unreadable", "build again"))
        return cls(
            where=where,
            files=files,
            settings=settings,
            config=config,
            keys=keys or {},
            unreadable=tuple(problems),
        )

    @property
    def secrets(self) -> str:
        """How first boot expects the private keys to come."""
        keys = self.config.get("keys")
        return str(keys.get("secrets")) if isinstance(keys, dict) else "embed"

    def key_at(self, path: str) -> str | None:
        """The private key that will be at ``path``, if it is known here."""
        if self.secrets == "embed":
            return self.files.get(path)
        return self.keys.get(Path(path).name)

    def problems(self, now: datetime) -> Iterator[Problem]:
        """What etcd would mind; nothing for documents that are not ours."""
        yield from self.unreadable
        if self.config:
            yield from self._settings_problems()
            yield from self._credential_problems(now)

    def _settings_problems(self) -> Iterator[Problem]:
        settings, hint = self.settings, "change the spec, then build with --force"
        initial = dict(
            entry.partition("=")[::2]
            for entry in settings.get("ETCD_INITIAL_CLUSTER", "").split(",")
        )
        name = settings.get("ETCD_NAME", "")
        own = initial.get(name)
        if own is None:
            yield _error(self.where, f"ETCD_NAME {name!r} is not in ETCD_INITIAL_CLUSTER", hint)
        elif own != settings.get("ETCD_INITIAL_ADVERTISE_PEER_URLS"):
            yield _error(
                self.where,
                "ETCD_INITIAL_ADVERTISE_PEER_URLS is not what ETCD_INITIAL_CLUSTER says",
                hint,
            )
        token = settings.get("ETCD_INITIAL_CLUSTER_TOKEN", "")
        ids = [member_id([url], token) for url in initial.values()]
        # What came in later was not there to be hashed.
        bootstraps = settings.get("ETCD_INITIAL_CLUSTER_STATE") != "existing"
        if bootstraps and hex_id(cluster_id(ids)) != self.config.get("cluster_id"):
            yield _error(
                self.where,
                "token and peer URLs do not give the cluster ID that first boot expects",
                hint,
            )
        for setting, path in settings.items():
            known = path in self.files or (self.secrets != "embed" and "_KEY_" in setting)
            if setting.endswith("_FILE") and not known:
                yield _error(self.where, f"{setting}: {path} is not in write_files", hint)

    def _credential_problems(self, now: datetime) -> Iterator[Problem]:
        tls = self.config.get("tls", {})
        name = str(self.config.get("member"))
        for prefix, role, url in (
            ("client", Role.SERVER, self.config.get("client_url")),
            ("peer", Role.PEER, self.config.get("peer_url")),
        ):
            paths = [str(tls.get(f"{prefix}_{part}")) for part in ("cert", "ca", "key")]
            key = self.key_at(paths[2])
            missing = [path for path in paths[:2] if path not in self.files]
            if key is None and self.secrets == "embed":
                missing.append(paths[2])
            if missing:
                yield _error(self.where, f"{missing[0]} is not in write_files", "build again")
                continue
            if self.secrets != "embed" and paths[2] in self.files:
                yield _error(self.where, f"{paths[2]} is in user-data", "build again with --force")
            if key is None:
                continue  # it is not here to be looked at: a seed on its own
            certificate, ca = (self.files[path] for path in paths[:2])
            address = ip_address(urlsplit(str(url)).hostname or "")
            leaf = Leaf(owner=name, role=role, common_name="", days=0, needed=frozenset({address}))
            for problem in check_credential(
                Credential(certificate_pem=certificate, key_pem=key), leaf, ca_pem=ca, now=now
            ):
                yield replace(problem, where=f"{self.where}: {paths[0]}")

    def key_identities(self) -> Iterator[bytes]:
        """The public halves of all private keys in here, so that keys can be compared."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        seen = set()
        for text in (*self.files.values(), *self.keys.values()):
            if "PRIVATE KEY-----" in text and text not in seen:
                seen.add(text)
                try:
                    key = private_key_in(text)
                except ValueError:
                    continue  # reported with the credential it belongs to
                yield key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def authorities(self) -> Iterator[bytes]:
        """The public keys of all CAs in here."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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


def _error(where: object, what: str, hint: str) -> Problem:
    return Problem(where=str(where), what=what, hint=hint)
