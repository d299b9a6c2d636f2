"""The manifest: what was built for one cluster, without any secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from imagegen._version import __version__
from imagegen.base.instants import format_instant
from imagegen.base.problems import ImagegenError
from imagegen.build.output import Artifact
from imagegen.cluster.cluster import Cluster, Member, hex_id
from imagegen.documents.names import MANIFEST
from imagegen.pki.model import Credential, Pki
from imagegen.pki.pem import describe

HINT = "delete it, then build the cluster anew with --force"


def member_entry(
    cluster: Cluster, member: Member, pki: Pki, files: Mapping[str, bytes]
) -> dict[str, Any]:
    """The manifest's entry for one member."""
    credentials = pki.members[member.name]
    if cluster.one_credential:
        roles = {"server and peer": credentials.server}
    else:
        roles = {"server": credentials.server, "peer": credentials.peer}
    return {
        "name": member.name,
        "address": str(member.plan.address),
        "member_id": hex_id(member.member_id),
        "instance_id": member.instance_id,
        "client_url": member.client_url,
        "peer_url": member.peer_url,
        "files": file_facts(files),
        "certificates": [certificate_entry(role, item) for role, item in roles.items()],
    }


def file_facts(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Size in bytes and digest of each file, by its name below the cluster's directory."""
    return {
        path: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in sorted(files.items())
    }


def files_in(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Every file that a manifest lists, the members' and the cluster's own."""
    files = dict(manifest.get("files", {}))
    for entry in manifest["members"]:
        files |= entry["files"]
    return files


def certificate_entry(role: str, credential: Credential) -> dict[str, Any]:
    """Role, serial, end and names of a certificate."""
    facts = describe(credential.certificate_pem)
    return {
        "role": role,
        "serial": f"{facts.serial:x}",
        "not_after": format_instant(facts.not_after),
        "sans": list(facts.sans),
    }


def build_manifest(
    cluster: Cluster,
    members: Iterable[Mapping[str, Any]],
    pki: Pki,
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole manifest; ``members`` are entries of :func:`member_entry`.

    ``files`` has the facts of those that are no member's.
    """
    clients = {"client": pki.client} if pki.client else {}
    clients |= {name: pki.clients[name] for name in sorted(pki.clients)}
    return {
        "cluster": cluster.name,
        "cluster_id": hex_id(cluster.cluster_id),
        "token": cluster.token,
        "imagegen_version": __version__,
        "layout": cluster.spec.pki.layout,
        "shared_key": cluster.spec.pki.layout == "shared",
        "files": dict(files),
        "members": list(members),
        "clients": [
            {"name": name} | certificate_entry("client", client) for name, client in clients.items()
        ],
    }


def manifest_artifact(manifest: Mapping[str, Any]) -> Artifact:
    """The manifest as a file."""
    text = json.dumps(manifest, indent=2) + "\n"
    return Artifact(path=PurePosixPath(MANIFEST), data=text.encode(), mode=0o600)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a cluster's output directory; None if there is none.

    Raises:
        ImagegenError: it is there and no manifest.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise ImagegenError(
            f"cannot read the manifest: {reason}",
            where=str(path),
            hint=HINT,
        ) from None
    if not _is_manifest(manifest):
        raise ImagegenError("is no manifest", where=str(path), hint=HINT)
    return cast("dict[str, Any]", manifest)


def _is_manifest(document: object) -> bool:
    """Whether ``document`` has the shape that its readers rely on."""
    if not isinstance(document, dict) or not {"cluster", "cluster_id", "token"} <= document.keys():
        return False
    members = document.get("members")
    return (
        isinstance(members, list)
        and all(
            isinstance(member, dict)
            and isinstance(member.get("name"), str)
            and "member_id" in member
            and _are_files(member.get("files"))
            for member in members
        )
        and _are_files(document.get("files", {}))
    )


def _are_files(files: object) -> bool:
    """Whether these are files' facts; what is no longer made is removed by their names."""
    return isinstance(files, dict) and all(
        isinstance(facts, dict)
        and "sha256" in facts
        and ".." not in PurePosixPath(name).parts
        and not name.startswith("/")
        for name, facts in files.items()
    )
