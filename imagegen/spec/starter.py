"""The commented spec that ``imagegen init`` writes."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network

from imagegen.base.problems import ImagegenError
from imagegen.etcd.versions import EXAMPLE_RELEASE
from imagegen.spec.read import parse_spec
from imagegen.spec.words import parse_address


def starter_spec(*, cluster: str, members: int, first_address: str) -> str:
    """A spec of ``members`` members with consecutive addresses, ready to edit.

    Raises:
        ImagegenError: the name, the count or the addresses do not make a good spec.
    """
    try:
        first = parse_address(first_address)
        addresses = [first + index for index in range(members)]
    except ValueError:
        raise ImagegenError(
            f"--first-address: {first_address!r} and the {members - 1} after it are not addresses",
            hint="such as 10.240.0.11",
        ) from None
    prefix = 64 if first.version == 6 else 24
    lan = ip_network(f"{first}/{prefix}", strict=False)
    gateway = lan.network_address + 1
    if ip_address(addresses[-1]) not in lan or gateway in addresses:
        raise ImagegenError(
            f"--first-address: {members} members from {first} do not fit into {lan}",
            hint=f"choose a first address from {lan.network_address + 2} on",
        )
    blocks = [
        f"  - name: {cluster}-{index}\n    address: {_quoted(str(address))}\n"
        f'    mac: "{_mac(cluster, index)}"\n'
        for index, address in enumerate(addresses, start=1)
    ]
    text = _TEXT.format(
        cluster=cluster,
        members="".join(blocks),
        prefix=prefix,
        gateway=_quoted(str(gateway)),
        release=EXAMPLE_RELEASE,
    )
    parse_spec(text, source="imagegen init")  # such as --cluster, which may not be a host name
    return text


def _quoted(address: str) -> str:
    return f'"{address}"' if ":" in address else address


def _mac(cluster: str, index: int) -> str:
    """An address from QEMU's range, the same for the same cluster and member."""
    tail = hashlib.sha256(f"{cluster}/{index}".encode()).digest()[:3]
    return f"52:54:00:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"


_TEXT = """\
# An etcd cluster for imagegen. `imagegen schema` describes every setting,
# `imagegen check FILE` finds mistakes, `imagegen build FILE` builds it.
cluster: {cluster}

# What makes this cluster's IDs differ from every other's. Left out, a random
# one is made at the first build and kept with the keys.
# token: my-etcd-cluster-1

members:
{members}
# The members' first NIC. Without `network`, cloud-init falls back to DHCP, and
# the server must hand out the addresses above.
network:
  prefix: {prefix}
  gateway: {gateway}     # optional: first boot needs no way out if a mirror is near
  # dns: [10.240.0.1]
  # mtu: 1500

# What the machines run. Its own package of etcd is installed unless `install` says
# otherwise: Debian 13's is 3.5.16, which Debian alone maintains.
distribution: debian-13

# Or a release that etcd's own project maintains. It costs you three things: fetch its
# archives once and pin them (`imagegen pin etcd-v{release}-linux-*.tar.gz` prints this
# section), keep a web server the members can reach, and bring every later patch release
# to the members yourself (`imagegen upgrade`); apt no longer does.
# install:
#   mode: release
#   release:
#     version: "{release}"
#     sha256:
#       amd64: "..."
#     url: http://mirror.example.org/etcd-v{{version}}-linux-{{architecture}}.tar.gz

# Or the distribution's package from a mirror near the members.
# install:
#   apt:
#     mirror: http://mirror.example.org/debian

# A disk for the data alone, formatted once if it is blank.
# data_disk:
#   device: /dev/disk/by-id/virtio-etcd-data

# Once healthy, leave the keys to etcd alone, and let cloud-init read no later seed.
# after_boot: scrub

# etcd:
#   quota: 8GiB
#   auto_compaction: 1h
#   settings:
#     ETCD_LOG_LEVEL: warn

# ssh_authorized_keys:
#   - ssh-ed25519 AAAA... you@example.org

# Each caller has a credential of its own.
# clients:
#   - name: kube-apiserver
#   - name: prometheus
"""
