"""``imagegen check``: every problem of a spec, an output directory or a seed.

Artifacts are judged by what they say themselves: the manifest names every file
and its digest, and each member's user-data carries its certificates, settings
and IDs, which must agree with one another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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

from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.build.build import etcd_problems, load_spec
from imagegen.build.manifest import HINT, files_in, read_manifest
from imagegen.build.output import CLIENT, MANIFEST, MEMBERS, ROLLOUTS
from imagegen.cluster.cluster import cluster_id, hex_id, member_id
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.judge.seed.inspect import inspect_documents, inspect_seed, inspect_volume
from imagegen.media.iso_reader import read_seed
from imagegen.media.nocloud import REQUIRED
from imagegen.pki.faults import check_credential
from imagegen.pki.leaves import Leaf, Role
from imagegen.pki.model import Credential
from imagegen.pki.pem import Address, certificates_in, common_name_of, describe, private_key_in
from imagegen.spec.yaml import LOADER, nested_too_deep

_PREFIXES = ("client", "peer")
_FORCE = "build again with --force"
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
        loaded = load_spec(path, now=now)
        return [*loaded.warnings, *etcd_problems(loaded, now)]
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
    leftovers = [
        _error(path, "was left by a build that was interrupted", "remove it: it may hold keys")
        for path in sorted(directory.glob(".*.partial"))
    ]
    clusters = sorted(
        path.parent
        for path in directory.glob(f"*/{MANIFEST}")
        if not path.parent.match(".*.partial")
    )
    if not clusters:
        return [
            *leftovers,
            Problem(
                where=str(directory),
                what=f"holds no {MANIFEST}, nor does a directory in it",
                hint="name the directory that `imagegen build --output` wrote",
            ),
        ]
    return [*leftovers, *(problem for path in clusters for problem in _check_cluster(path, now))]


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
        if name in members:
            yield _error(directory / MANIFEST, f"lists {name} twice", HINT)
            continue
        documents = _documents(base)
        if "user-data" not in documents:
            continue  # its absence is reported with the files
        faults = inspect_documents(documents, source=str(base))
        yield from faults
        member = MemberDocuments.read(
            str(base / "user-data"), documents["user-data"], _keys_beside(base)
        )
        members[name] = member
        if not member.config and not member.unreadable and not _errors(faults):
            yield _error(member.where, f"{guest.CONFIG} is not in write_files", _FORCE)
        yield from member.problems(now)
        yield from _check_entry(entry, manifest, member, base)
        yield from _check_keys_beside(member, base)
        if not _errors(faults):
            yield from _check_meta(documents.get("meta-data", b""), member, instance_ids, base)
            yield from _check_network(documents.get("network-config", b""), member, base)
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
    if (directory / CLIENT).is_dir():
        yield from _check_clients(manifest, directory / CLIENT, members, now)


def _errors(problems: Iterable[Problem]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


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
        seed = read_seed(read_image(path), source=str(path))
    except ImagegenError as error:
        yield from error.problems
        return
    yield from inspect_volume(seed, source=str(path))
    for name, content in documents.items():
        file = seed.find(name)
        if file is None and name not in REQUIRED:  # of those, the volume's check has told
            yield _error(path, f"lacks {name}, which is beside it", _FORCE)
        elif file and file.content != content:
            yield from inspect_documents({name: file.content}, source=str(path))
            yield _error(path, f"its {name} is not the one beside it", _FORCE)


def _check_entry(
    entry: Mapping[str, Any], manifest: Mapping[str, Any], member: MemberDocuments, base: Path
) -> Iterator[Problem]:
    for key, expected in (
        ("member", entry["name"]),
        ("member_id", entry["member_id"]),
        ("instance_id", entry.get("instance_id")),
        ("client_url", entry.get("client_url")),
        ("peer_url", entry.get("peer_url")),
        ("cluster", manifest["cluster"]),
        ("cluster_id", manifest["cluster_id"]),
    ):
        if member.config and member.config.get(key) != expected:
            yield _error(
                base / "user-data",
                f"{guest.CONFIG} says {key} {member.config.get(key)}, the manifest {expected}",
                _FORCE,
            )
    token = member.settings.get("ETCD_INITIAL_CLUSTER_TOKEN")
    if member.settings and token != manifest["token"]:
        yield _error(
            base / "user-data",
            f"its token is {token}, the manifest's {manifest['token']}",
            _FORCE,
        )
    listed = {str(item.get("serial")) for item in _dicts(entry.get("certificates"))}
    for path, serial in member.serials().items():
        if serial not in listed:
            yield _error(
                f"{member.where}: {path}", f"its serial {serial} is not in the manifest", _FORCE
            )


def _check_keys_beside(member: MemberDocuments, base: Path) -> Iterator[Problem]:
    """The keys that travel apart are there, where first boot will look, and no others are."""
    wanted = {Path(path).name for path in member.key_paths()}
    disc = base / "keys.iso"
    where = disc if disc.is_file() else base / "keys"
    if member.secrets == "embed":
        # For another target they may travel apart, and are the same.
        embedded = {Path(path).name: member.key_at(path) for path in member.key_paths()}
        for name, key in sorted(member.keys.items()):
            if key != embedded.get(name):
                yield _error(where, f"its {name} is not the one in user-data", _FORCE)
        return
    for name in sorted(wanted - member.keys.keys()):
        yield _error(where, f"lacks the private key {name}", _FORCE)
    for name in sorted(member.keys.keys() - wanted):
        yield _error(where, f"holds {name}, which first boot does not look for", _FORCE)
    if not disc.is_file():
        return
    with suppress(ImagegenError):  # said with the files
        label, expected = read_seed(read_image(disc)).label, member.config["keys"].get("disk")
        if label != expected:
            yield _error(disc, f"its label is {label}, and first boot looks for {expected}", _FORCE)


def _check_meta(
    data: bytes, member: MemberDocuments, seen: dict[str, str], base: Path
) -> Iterator[Problem]:
    meta = _mapping_in(data)
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
            _FORCE,
        )
    if meta.get("local-hostname") != base.name:
        yield _error(
            base / "meta-data", f"local-hostname is {meta.get('local-hostname')!r}", _FORCE
        )


def _check_network(data: bytes, member: MemberDocuments, base: Path) -> Iterator[Problem]:
    """A member that has fixed addresses has those it is told to serve at."""
    fixed = set(_fixed_addresses(_mapping_in(data)))
    addresses = member.config.get("addresses")
    ours = [str(address) for address in addresses] if isinstance(addresses, list) else []
    if missing := [address for address in ours if fixed and address not in fixed]:
        yield _error(
            base / "network-config",
            f"gives the machine no {missing[0]}, where the member is to serve",
            _FORCE,
        )


def _fixed_addresses(value: Any) -> Iterator[str]:
    """Every address of a network-config, of either version, without its prefix."""
    if isinstance(value, list):
        for item in value:
            yield from _fixed_addresses(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "nameservers":
                continue
            if key == "address" and isinstance(item, str):
                yield item.partition("/")[0]
            elif key == "addresses" and isinstance(item, list):
                yield from (str(address).partition("/")[0] for address in item)
            else:
                yield from _fixed_addresses(item)


def _mapping_in(data: bytes) -> Mapping[str, Any]:
    """A YAML mapping; an empty one for what is none, which `inspect` tells of."""
    try:
        deep = nested_too_deep(data)
        value = None if deep else yaml.load(data, Loader=LOADER)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError):
        value = None
    return value if isinstance(value, dict) else {}


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
    for part, what in (("client_ca", "client CA"), ("peer_ca", "peer CA")):
        first, expected = "", frozenset[bytes]()
        for name, member in members.items():
            trusted = member.authorities(part)
            if not expected:
                first, expected = name, trusted
            # While a CA is replaced, some trust one more than others do.
            elif trusted and not trusted & expected:
                yield _error(
                    member.where,
                    f"its {what} is another than {first}'s",
                    "members of one cluster trust one CA: build all of them from one store",
                )


def _check_clients(
    manifest: Mapping[str, Any], folder: Path, members: Mapping[str, MemberDocuments], now: datetime
) -> Iterator[Problem]:
    """Callers' credentials: good, and under the CA that the members trust."""
    ca = _text_of(folder / "ca.pem")
    if ca is None:
        yield _error(folder / "ca.pem", "is missing: no caller can tell the members", _FORCE)
        return
    try:
        authorities = frozenset(_fingerprint(certificate) for certificate in certificates_in(ca))
    except ValueError as error:
        yield _error(folder / "ca.pem", str(error), _FORCE)
        return
    for name, member in members.items():
        trusted = member.authorities("client_ca")
        if trusted and not trusted & authorities:
            yield _error(folder / "ca.pem", f"is not the CA of {name}'s server certificate", _FORCE)
            return
    for entry in _dicts(manifest.get("clients")):
        name = str(entry.get("name"))
        certificate, key = (_text_of(folder / f"{name}{part}.pem") for part in ("", "-key"))
        if certificate is None or key is None:
            missing = folder / f"{name}{'-key' if certificate else ''}.pem"
            yield _error(missing, f"is missing: {name} cannot call the cluster", _FORCE)
            continue
        leaf = Leaf(owner=name, role=Role.CLIENT, common_name="", days=0)
        yield from check_credential(
            Credential(certificate_pem=certificate, key_pem=key),
            leaf,
            ca_pem=ca,
            now=now,
            where=str(folder / f"{name}.pem"),
        )


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(SHA256())


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
        for identity in member.authority_keys():
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
        document = _mapping_in(user_data)
        # Of an entry that is none, inspect says what cloud-init minds.
        for file in _dicts(document.get("write_files")):
            files[str(file.get("path"))] = str(file.get("content"))
        config: Mapping[str, Any] = {}
        settings: Mapping[str, str] = {}
        try:
            config = json.loads(files.get(guest.CONFIG, "{}"))
            if config and not _is_config(config):
                problems.append(_error(where, f"{guest.CONFIG} is not for first boot", _FORCE))
                config = {}
        except (ValueError, RecursionError):
            problems.append(_error(where, f"{guest.CONFIG} is no JSON", _FORCE))
        try:
            settings = parse_env(files.get(guest.ETCD_DEFAULTS, ""))
        except ValueError:
            problems.append(_error(where, f"{guest.ETCD_DEFAULTS} is unreadable", _FORCE))
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
        return str(self.config["keys"].get("secrets")) if self.config else "embed"

    def key_paths(self) -> set[str]:
        """Where the member's private keys will be."""
        return {self.config["tls"][f"{prefix}_key"] for prefix in _PREFIXES if self.config}

    def key_at(self, path: str) -> str | None:
        """The private key that will be at ``path``, if it is known here."""
        if self.secrets == "embed":
            return self.files.get(path)
        return self.keys.get(Path(path).name)

    def problems(self, now: datetime) -> Iterator[Problem]:
        """What first boot and etcd would mind; nothing for documents that are not ours."""
        yield from self.unreadable
        if self.config:
            yield from self._firstboot_problems()
            yield from self._settings_problems()
            yield from self._credential_problems(now)

    def _firstboot_problems(self) -> Iterator[Problem]:
        """What keeps first boot from being run, or etcd from waiting for it."""
        written = _dicts(self.document.get("write_files"))
        paths = Counter(str(file.get("path")) for file in written)
        for path, count in paths.items():
            if count > 1:
                yield _error(
                    self.where, f"write_files has {path} {count} times", "the last one wins"
                )
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
                yield _error(self.where, f"{path} is not in write_files", _FORCE)
                continue
            for line in lines:
                if not re.search(f"^{re.escape(line)}", text, re.MULTILINE):
                    yield _error(self.where, f"{path} lacks {line}", _FORCE)
        unit = guest.FIRSTBOOT_UNIT.rpartition("/")[2]
        commands = self.document.get("runcmd")
        start = ["systemctl", "start", "--no-block", unit]
        if not isinstance(commands, list) or start not in commands:
            yield _error(self.where, f"runcmd does not start {unit}", _FORCE)
        name = self.config["member"]
        if (hostname := self.document.get("hostname")) != name:
            yield _error(self.where, f"hostname is {hostname!r}, of the member {name}", _FORCE)

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
        if bootstraps and hex_id(cluster_id(ids)) != config.get("cluster_id"):
            yield _error(
                self.where,
                "token and peer URLs do not give the cluster ID that first boot expects",
                hint,
            )
        for setting, expected in self._told_twice():
            if own is not None and settings.get(setting) != expected:
                yield _error(
                    self.where,
                    f"{setting} is {settings.get(setting)!r}, and first boot expects {expected!r}",
                    hint,
                )
        for setting in ("ETCD_CLIENT_CERT_AUTH", "ETCD_PEER_CLIENT_CERT_AUTH"):
            if settings.get(setting) != "true":
                yield _error(self.where, f"{setting} is not true: etcd would let anyone in", hint)
        for setting in ("ETCD_LISTEN_CLIENT_URLS", "ETCD_LISTEN_PEER_URLS"):
            if any(not url.startswith("https:") for url in settings.get(setting, "").split(",")):
                yield _error(self.where, f"{setting} has a URL that is not https", hint)
        for setting, path in settings.items():
            known = path in self.files or (self.secrets != "embed" and "_KEY_" in setting)
            if setting.endswith("_FILE") and not known:
                yield _error(self.where, f"{setting}: {path} is not in write_files", hint)
        crl = self.files.get(settings.get("ETCD_CLIENT_CRL_FILE", ""))
        if crl is not None and not _is_crl(crl):
            yield _error(
                self.where,
                "ETCD_CLIENT_CRL_FILE is no revocation list: etcd would let no client in",
                _FORCE,
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
            if key is None and self.secrets == "embed":
                missing.append(paths[2])
            if missing:
                yield _error(self.where, f"{missing[0]} is not in write_files", _FORCE)
                continue
            if self.secrets != "embed" and paths[2] in self.files:
                yield _error(self.where, f"{paths[2]} is in user-data", _FORCE)
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
                yield _error(
                    f"{self.where}: {tls['peer_cert']}",
                    f"its common name is {common_name!r}, and peers let in {allowed!r} only",
                    _FORCE,
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
        return frozenset(map(_fingerprint, certificates))

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


def _dicts(value: object) -> list[dict[Any, Any]]:
    """The mappings in a list; none in what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


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


def _error(where: object, what: str, hint: str) -> Problem:
    return Problem(where=str(where), what=what, hint=hint)
