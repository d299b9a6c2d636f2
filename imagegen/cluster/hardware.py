"""What a spec knows of the machine a member runs on: its network cards and its data disk."""

from __future__ import annotations

import hashlib
import re

from imagegen.cluster.cluster import Cluster, Member

#: How udev names a virtio disk by its serial number, which has no more than 20 characters.
_VIRTIO = re.compile(r"/dev/disk/by-id/virtio-([A-Za-z0-9._-]{1,20})")


def macs(member: Member) -> tuple[str | None, ...]:
    """The MAC address of each network card, the first one's first; None where the spec has none."""
    return (member.plan.mac, *(nic.mac for nic in member.plan.nics))


def made_macs(cluster: Cluster, member: Member) -> tuple[str, ...]:
    """The same, with one made up where the spec has none: this member's, on every run."""
    who = f"{cluster.identity.store_id}\0{cluster.name}\0{member.name}"
    return tuple(mac or _made(who, index) for index, mac in enumerate(macs(member)))


def _made(who: str, index: int) -> str:
    digest = hashlib.sha256(f"{who}\0{index}".encode()).digest()
    return "52:54:00:" + digest[:3].hex(":")


def data_disk_serial(cluster: Cluster) -> str | None:
    """The serial number that makes a virtio disk appear where the spec has its data disk.

    Empty where the place in the spec has nothing to do with it; None without a data disk.
    """
    disk = cluster.spec.data_disk
    if disk is None:
        return None
    found = _VIRTIO.fullmatch(disk.device)
    return found[1] if found else ""
