"""Where our own files stand on a member, spelled once for templates and programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

PROGRAM = "/usr/local/lib/imagegen/firstboot"
CONFIG = "/etc/imagegen/member.json"
STATE_DIRECTORY = "/var/lib/imagegen"
RESULT = f"{STATE_DIRECTORY}/result.json"
SNAPSHOT = f"{STATE_DIRECTORY}/snapshot.db"
GATE = f"{STATE_DIRECTORY}/etcd-may-start"
HOSTS = "/etc/hosts"
ETCD_DEFAULTS = "/etc/default/etcd"
ETCD_UNIT = "/etc/systemd/system/etcd.service"
ETCD_DROPIN = "/etc/systemd/system/etcd.service.d/10-imagegen.conf"
KEYS_UNIT = "/etc/systemd/system/imagegen-keys.path"
FIRSTBOOT_UNIT = "/etc/systemd/system/imagegen-firstboot.service"
ETCD_USER = "etcd"
#: Of a release: a link, by way of the current one below RELEASES.
ETCD = "/usr/local/bin/etcd"
#: A directory for each release, and the link `current` to one of them.
RELEASES = "/opt/etcd"
#: What a release brings: links like ETCD.
PROGRAMS = (ETCD, "/usr/local/bin/etcdctl", "/usr/local/bin/etcdutl")
#: Where first boot tells cloud-init what to look for once the seed is gone.
DATASOURCES = "/etc/cloud/cloud.cfg.d/99-imagegen.cfg"
CONSOLE = "/dev/console"


def finished(instance_id: str) -> str:
    """The mark of a final result, for one instance-id."""
    return f"{STATE_DIRECTORY}/finished-{instance_id}"


def keys_label(instance_id: str) -> str:
    """The label of the disk that brings a member its keys.

    16 characters, all that Joliet has room for: the beginning of the digest in
    the instance-id, which names store, cluster, member and generation.
    """
    return f"keys-{instance_id.rsplit('-', 2)[1][:11]}"


def snapshot_label(sha256: str) -> str:
    """The label of the disc that brings a snapshot: 16 characters, by what is on it."""
    return f"snap-{sha256[:11]}"


def bundle_label(digests: Iterable[str]) -> str:
    """The label of a disc that brings a bundle: 16 characters, by what is on it."""
    return f"etcd-{hashlib.sha256(' '.join(sorted(digests)).encode()).hexdigest()[:11]}"


def unit_path(name: str) -> str:
    """Where a unit of that name is put."""
    return f"/etc/systemd/system/{name}"


def wanted(name: str) -> str:
    """The link that has a unit started at each boot, as `systemctl enable` would make it."""
    return unit_path(f"multi-user.target.wants/{name}")


def apt_source(name: str) -> str:
    """The file of a package source (sources.list(5), deb822)."""
    return f"/etc/apt/sources.list.d/{name}.sources"


def apt_key(name: str) -> str:
    """The one key that a package source is trusted for."""
    return f"/etc/apt/keyrings/{name}.asc"


def mount_unit(path: str) -> str:
    """The name systemd gives the mount unit of ``path`` (systemd.unit, "String escaping")."""
    escaped = "".join(
        character
        if character.isascii() and (character.isalnum() or character in ":_.")
        else "-"
        if character == "/"
        else f"\\x{ord(character):02x}"
        for character in path.strip("/")
    )
    return f"{escaped}.mount"
