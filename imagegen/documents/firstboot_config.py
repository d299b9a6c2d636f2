"""What the first-boot program is told about its member, in member.json; it holds no secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from imagegen.base.instants import format_instant
from imagegen.cluster.cluster import Cluster, Member, hex_id
from imagegen.documents import guest
from imagegen.media.iso_writer import DISC_LIMIT
from imagegen.media.nocloud import LABELS
from imagegen.pki.pem import describe
from imagegen.spec.model import Install
from imagegen.spec.secrets import Secrets

if TYPE_CHECKING:
    from imagegen.pki.model import MemberCredentials


def firstboot_config(
    cluster: Cluster, member: Member, not_before: datetime, secrets: str
) -> dict[str, Any]:
    """What the first-boot program reads from member.json; holds no secret."""
    spec, paths = cluster.spec, cluster.credential_paths
    disk = spec.data_disk
    one_key = paths.server_key == paths.peer_key
    keys = [paths.server_key] if one_key else [paths.server_key, paths.peer_key]
    return {
        **identity_config(cluster, member),
        "addresses": [str(address) for address in member.advertised_addresses],
        "client_url": member.client_url,
        "peer_url": member.peer_url,
        "peer_listen": [str(member.peer_address), member.peer_port],
        "initial_cluster_state": cluster.initial_state(member),
        "others": [
            {"name": o.name, "member_id": hex_id(o.member_id), "peer_url": o.peer_url}
            for o in cluster.others(member)
        ],
        "data_dir": cluster.data_directory,
        "wal_dir": spec.etcd.wal_directory,
        "tls": {
            "peer_cert": paths.peer,
            "peer_key": paths.peer_key,
            "peer_ca": paths.peer_ca,
            "client_cert": paths.server,
            "client_key": paths.server_key,
            "client_ca": paths.ca,
        },
        "owner": guest.ETCD_USER,
        "keys": {
            "secrets": secrets,
            "disk": guest.keys_label(member.instance_id) if secrets == Secrets.SPLIT else None,
            "unit": guest.KEYS_UNIT.rpartition("/")[2],
        },
        "owned": [{"path": path, "mode": "0400"} for path in keys],
        "install": install_config(spec.install),
        "not_before": format_instant(not_before),
        "bootstrap_until": format_instant(spec.bootstrap_until) if spec.bootstrap_until else None,
        "snapshot": _snapshot(cluster, member),
        "data_disk": disk
        and {
            "device": disk.device,
            "label": disk.label,
            "filesystem": "ext4",
            "mount_point": disk.mount_point,
            "unit": guest.mount_unit(disk.mount_point),
        },
        "after_boot": spec.after_boot,
        "address_timeout": 300,
        "clock_timeout": 120,
        "state_dir": guest.STATE_DIRECTORY,
        "gate": guest.GATE,
        "finished": guest.finished(member.instance_id),
        "console": guest.CONSOLE,
        "service": "etcd.service",
    }


def identity_config(cluster: Cluster, member: Member) -> dict[str, str]:
    """Who a member is, as the first-boot program reports it."""
    return {
        "cluster": cluster.name,
        "cluster_id": hex_id(cluster.cluster_id),
        "member": member.name,
        "member_id": hex_id(member.member_id),
        "instance_id": member.instance_id,
    }


def parts_for(config: Mapping[str, Any]) -> frozenset[str]:
    """Which parts of the first-boot program a member needs that has this configuration."""
    files = config["install"].get("files", [])
    needed = {
        "data_disk": config["data_disk"],
        "keys": config["keys"]["secrets"] != Secrets.EMBED,
        "packages": config["install"]["packages"] or any(file.get("package") for file in files),
        "release": files,
        "scrub": config["after_boot"] == "scrub",
        "snapshot": config["snapshot"],
    }
    return frozenset(name for name, wanted in needed.items() if wanted)


def install_config(install: Install) -> dict[str, Any]:
    """What the first-boot program has to know to install etcd, or to find it there."""
    minimum = install.minimum_version
    config: dict[str, Any] = {
        "mode": install.mode,
        "packages": list(install.apt_packages),
        "minimum_version": str(minimum) if minimum else None,
    }
    if install.mode == "release" and install.release:
        version, url = install.release.version, install.release.url
        config |= {"version": version}
        config["files"] = [
            {
                "name": f"etcd-v{version}-linux-{architecture}.tar.gz",
                "architecture": architecture,
                "sha256": sha256,
                "url": url.replace("{version}", version).replace("{architecture}", architecture),
            }
            for architecture, sha256 in install.release.sha256.items()
        ]
    elif install.mode == "bundle":
        config |= {"version": install.release_version, "discs": bundle_labels(install)}
        config["files"] = [
            {
                "name": file.name,
                "architecture": file.architecture,
                "sha256": file.sha256,
                "package": file.package,
            }
            for file in install.bundled
        ]
    return config


def bundle_labels(install: Install) -> list[str]:
    """Labels of the discs that may bring a bundle: a seed's two, and that of one of its own."""
    return [*LABELS, guest.bundle_label([file.sha256 for file in install.bundled])]


def _snapshot(cluster: Cluster, member: Member) -> dict[str, Any] | None:
    """What a member of the bootstrap begins with, if not empty; others get it from these."""
    restored = cluster.identity.restored
    if restored is None or cluster.joined(member):
        return None
    return {
        "file": guest.SNAPSHOT,
        "disk": guest.snapshot_label(restored.sha256) if restored.size <= DISC_LIMIT else None,
        "sha256": restored.sha256,
        "bump_revision": restored.bump_revision,
        "initial_cluster": cluster.initial_cluster(member),
        "token": cluster.token,
    }


def not_before(credentials: MemberCredentials) -> datetime:
    """When the last of the member's certificates begins to be valid."""
    texts = {credentials.server.certificate_pem, credentials.peer.certificate_pem}
    return max(describe(text).not_before for text in texts)
