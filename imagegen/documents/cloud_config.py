"""What a member's user-data must say, as plain data that a template then lays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.guest_files import guest_files
from imagegen.documents.templates import Templates
from imagegen.spec.model import APPENDED

if TYPE_CHECKING:
    from imagegen.pki.model import MemberCredentials, Pki


def cloud_config(
    cluster: Cluster,
    member: Member,
    credentials: MemberCredentials,
    pki: Pki,
    templates: Templates,
    secrets: str,
) -> dict[str, Any]:
    """What the member's user-data must say, as cloud-init will load it."""
    spec = cluster.spec
    config: dict[str, Any] = {"hostname": member.name, "manage_etc_hosts": False}
    if spec.ssh_authorized_keys:
        config["ssh_authorized_keys"] = list(spec.ssh_authorized_keys)
    if spec.users:
        # Without "default" cloud-init would drop the image's own user.
        config["users"] = ["default", *(_user(user) for user in spec.users)]
    if spec.install.apt:
        config["apt"] = _apt(spec.install.apt)
    if spec.ntp:
        servers = {"servers": list(spec.ntp.servers), "pools": list(spec.ntp.pools)}
        config["ntp"] = {"enabled": True} | {key: value for key, value in servers.items() if value}
    config["write_files"] = guest_files(cluster, member, credentials, pki, templates, secrets)
    unit = guest.FIRSTBOOT_UNIT
    name = unit.rpartition("/")[2]
    config["runcmd"] = [
        # Only a later generation finds these units loaded in their old form; a
        # reload is too dear on a slow machine to be done for nothing.
        [
            "sh",
            "-c",
            f"systemctl show -p NeedDaemonReload {name} etcd.service | grep -q yes "
            "&& systemctl daemon-reload; exit 0",
        ],
        # What `systemctl enable` would do, without its reload.
        ["ln", "-sfn", unit, guest.wanted(name)],
        # runcmd has no `set -e`, and a failed one is never retried: it starts one
        # unit and does not wait for it.
        ["systemctl", "start", "--no-block", name],
    ]
    return config


def merged(ours: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Our cloud-config with the operator's appended; the spec has been checked for conflicts."""
    config = dict(ours)
    for key, value in extra.items():
        config[key] = [*ours.get(key, ()), *value] if key in APPENDED else value
    return config


def _user(user: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": user.shell, "lock_passwd": True}
    if user.groups:
        entry["groups"] = list(user.groups)
    if user.sudo:
        entry["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if user.ssh_authorized_keys:
        entry["ssh_authorized_keys"] = list(user.ssh_authorized_keys)
    return entry


def _apt(apt: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for key, uri in (("primary", apt.mirror), ("security", apt.security_mirror)):
        if uri:
            entry[key] = [{"arches": ["default"], "uri": uri}]
    if entry:
        # Debian's images keep their sources.list otherwise, and the mirror is ignored.
        entry = {"preserve_sources_list": False, **entry}
    if apt.proxy:
        entry["proxy"] = apt.proxy
    return entry
