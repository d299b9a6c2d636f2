"""An output directory as a whole: the manifest, its files, and members side by side.

The manifest names every file and its digest. Members of one cluster must agree
with it and with one another, and none may hold another's key.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.build.manifest import HINT, files_in, read_manifest
from imagegen.documents import guest
from imagegen.documents.names import CLIENT, MANIFEST, MEMBERS, ROLLOUTS
from imagegen.judge.member import (
    FORCE,
    MemberDocuments,
    error_at,
    fingerprint,
    mapping_in,
    mappings_in,
)
from imagegen.judge.seed.image import read_image
from imagegen.judge.seed.inspect import inspect_documents, inspect_volume
from imagegen.media.iso_reader import read_seed
from imagegen.media.nocloud import REQUIRED
from imagegen.pki.faults import check_credential
from imagegen.pki.leaves import Leaf, Role
from imagegen.pki.model import Credential
from imagegen.pki.pem import certificates_in
from imagegen.spec.secrets import Secrets


def check_output(directory: Path, *, now: datetime) -> list[Problem]:
    """Every problem of an output directory: one cluster's, or the root of several."""
    if (directory / MANIFEST).exists():
        return list(_check_cluster(directory, now))
    leftovers = [
        error_at(path, "was left by a build that was interrupted", "remove it: it may hold keys")
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
            yield error_at(directory / MANIFEST, f"lists {name} twice", HINT)
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
            yield error_at(member.where, f"{guest.CONFIG} is not in write_files", FORCE)
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
        yield error_at(directory / path, "is not in the manifest", "remove it, or build again")
    yield from _check_together(members)
    yield from _check_foreign_keys(members, directory)
    if (directory / CLIENT).is_dir():
        yield from _check_clients(manifest, directory / CLIENT, members, now)


def _errors(problems: Iterable[Problem]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


def _check_modes(directory: Path) -> Iterator[Problem]:
    for path in [directory, *sorted(directory.rglob("*"))]:
        if path.is_symlink():
            yield error_at(path, "is a symbolic link", "imagegen writes none; build again")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            allowed = "0700" if path.is_dir() else "0600"
            yield error_at(
                path, f"has mode {mode:04o}, and others may read keys", f"chmod {allowed} {path}"
            )


def _check_files(directory: Path, files: Mapping[str, Any]) -> Iterator[Problem]:
    for name, expected in files.items():
        path = directory / name
        try:
            data = path.read_bytes()
        except OSError as error:
            yield error_at(path, f"cannot be read: {error.strerror}", "build again")
            continue
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            yield error_at(
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
            yield error_at(path, f"lacks {name}, which is beside it", FORCE)
        elif file and file.content != content:
            yield from inspect_documents({name: file.content}, source=str(path))
            yield error_at(path, f"its {name} is not the one beside it", FORCE)


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
            yield error_at(
                base / "user-data",
                f"{guest.CONFIG} says {key} {member.config.get(key)}, the manifest {expected}",
                FORCE,
            )
    token = member.settings.get("ETCD_INITIAL_CLUSTER_TOKEN")
    if member.settings and token != manifest["token"]:
        yield error_at(
            base / "user-data",
            f"its token is {token}, the manifest's {manifest['token']}",
            FORCE,
        )
    listed = {str(item.get("serial")) for item in mappings_in(entry.get("certificates"))}
    for path, serial in member.serials().items():
        if serial not in listed:
            yield error_at(
                f"{member.where}: {path}", f"its serial {serial} is not in the manifest", FORCE
            )


def _check_keys_beside(member: MemberDocuments, base: Path) -> Iterator[Problem]:
    """The keys that travel apart are there, where first boot will look, and no others are."""
    wanted = {Path(path).name for path in member.key_paths()}
    disc = base / "keys.iso"
    where = disc if disc.is_file() else base / "keys"
    if member.secrets == Secrets.EMBED:
        # For another target they may travel apart, and are the same.
        embedded = {Path(path).name: member.key_at(path) for path in member.key_paths()}
        for name, key in sorted(member.keys.items()):
            if key != embedded.get(name):
                yield error_at(where, f"its {name} is not the one in user-data", FORCE)
        return
    for name in sorted(wanted - member.keys.keys()):
        yield error_at(where, f"lacks the private key {name}", FORCE)
    for name in sorted(member.keys.keys() - wanted):
        yield error_at(where, f"holds {name}, which first boot does not look for", FORCE)
    if not disc.is_file():
        return
    with suppress(ImagegenError):  # said with the files
        label, expected = read_seed(read_image(disc)).label, member.config["keys"].get("disk")
        if label != expected:
            yield error_at(
                disc, f"its label is {label}, and first boot looks for {expected}", FORCE
            )


def _check_meta(
    data: bytes, member: MemberDocuments, seen: dict[str, str], base: Path
) -> Iterator[Problem]:
    meta = mapping_in(data)
    identifier = str(meta.get("instance-id"))
    if identifier in seen:
        yield error_at(
            base / "meta-data",
            f"has the instance-id of {seen[identifier]}",
            "each machine needs its own; build again with --force",
        )
    seen.setdefault(identifier, base.name)
    if member.config and member.config.get("instance_id") != identifier:
        yield error_at(
            base / "meta-data",
            "its instance-id is not the one user-data was made for",
            FORCE,
        )
    if meta.get("local-hostname") != base.name:
        yield error_at(
            base / "meta-data", f"local-hostname is {meta.get('local-hostname')!r}", FORCE
        )


def _check_network(data: bytes, member: MemberDocuments, base: Path) -> Iterator[Problem]:
    """A member that has fixed addresses has those it is told to serve at."""
    fixed = set(_fixed_addresses(mapping_in(data)))
    addresses = member.config.get("addresses")
    ours = [str(address) for address in addresses] if isinstance(addresses, list) else []
    if missing := [address for address in ours if fixed and address not in fixed]:
        yield error_at(
            base / "network-config",
            f"gives the machine no {missing[0]}, where the member is to serve",
            FORCE,
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


def _check_together(members: Mapping[str, MemberDocuments]) -> Iterator[Problem]:
    for setting in ("ETCD_INITIAL_CLUSTER", "ETCD_INITIAL_CLUSTER_TOKEN"):
        values: dict[str | None, str] = {}
        for name, member in members.items():
            # Who came in later was told who belonged to the cluster then.
            joined = member.settings.get("ETCD_INITIAL_CLUSTER_STATE") == "existing"
            if member.settings and not (joined and setting == "ETCD_INITIAL_CLUSTER"):
                values.setdefault(member.settings.get(setting), name)
        if len(values) > 1:
            first, second = list(values.values())[:2]
            yield error_at(
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
                yield error_at(
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
        yield error_at(folder / "ca.pem", "is missing: no caller can tell the members", FORCE)
        return
    try:
        authorities = frozenset(fingerprint(certificate) for certificate in certificates_in(ca))
    except ValueError as error:
        yield error_at(folder / "ca.pem", str(error), FORCE)
        return
    for name, member in members.items():
        trusted = member.authorities("client_ca")
        if trusted and not trusted & authorities:
            yield error_at(
                folder / "ca.pem", f"is not the CA of {name}'s server certificate", FORCE
            )
            return
    for entry in mappings_in(manifest.get("clients")):
        name = str(entry.get("name"))
        certificate, key = (_text_of(folder / f"{name}{part}.pem") for part in ("", "-key"))
        if certificate is None or key is None:
            missing = folder / f"{name}{'-key' if certificate else ''}.pem"
            yield error_at(missing, f"is missing: {name} cannot call the cluster", FORCE)
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
                yield error_at(
                    directory / MEMBERS / name,
                    "a member's documents hold the private key of a CA",
                    "revoke that CA: whoever reads the seed can sign certificates",
                )
