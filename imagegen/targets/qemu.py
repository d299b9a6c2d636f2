"""A script that starts a member with QEMU alone, on x86-64, for trials on one host.

The seed is a read-only virtio disk, not a CD: Debian's cloud kernel has no
driver for the CDs of most machine types, and as a disk it belongs to root and
the group disk alone. Network cards of all members share a multicast group as
their segment, which needs no privilege but also leads nowhere else
(qemu-system-x86_64(1), -netdev socket,mcast).
"""

from __future__ import annotations

import hashlib
import shlex

from imagegen.cluster.cluster import Cluster
from imagegen.cluster.hardware import data_disk_serial, made_macs
from imagegen.documents.names import SEED
from imagegen.documents.render import NodeDocuments
from imagegen.media.nocloud import build_seed
from imagegen.spec.secrets import Secrets
from imagegen.targets.payload import Options, Payload, Target

_SCRIPT = r"""
# Starts the member; its console is this terminal (Ctrl-a x ends it, Ctrl-a c and
# system_powerdown shuts it down). Arguments are passed on to QEMU.
#   IMAGE      a cloud image, qcow2 or raw, needed at the first start; never written
#   DISKS      where the member's own disks are kept, which outlive this folder
#              (default: ~/.local/state/imagegen/CLUSTER/NAME)
#   DISK_SIZE  grows the member's disk at the first start (default: as large as IMAGE)
#   DATA_SIZE  of the data disk, if the spec has one (default: 10G)
#   NET_0      the first network card, as QEMU's -netdev takes it without id=; NET_1 the next.
#              NET_0=bridge,br=br0 is the host's bridge br0 (allowed in /etc/qemu/bridge.conf),
#              NET_0=tap,ifname=tap0,script=no,downscript=no a tap device that is there.
#              Default: a segment of the cluster's own, shared by members on this host. It has
#              no router and no DHCP server. It is a multicast group on the interface of the
#              host's route to it, where others can join: keep it for trials.
#   MEMORY     in MiB (default: 1024)
#   CPUS       (default: 2)
#   ACCEL      kvm or tcg (default: kvm where this user may)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
disks=${DISKS:-${XDG_STATE_HOME:-$HOME/.local/state}/imagegen/$cluster/$name}
keys=$here/../keys.iso

umask 077
mkdir -p -- "$disks"
disk=$disks/root.qcow2
if [ ! -e "$disk" ]; then
  image=$(realpath -e -- "${IMAGE:?give a cloud image, qcow2 or raw}")
  if [ "$split" = yes ] && [ ! -e "$keys" ]; then
    echo "$name: $keys is missing, and the member cannot start etcd without its keys" >&2
    exit 1
  fi
  format=raw
  if [ "$(head -c 3 -- "$image" | tr -d '\0')" = QFI ]; then
    format=qcow2
  fi
  qemu-img create -q -f qcow2 -F "$format" -b "$image" "$disk.new"
  if [ -n "${DISK_SIZE:-}" ]; then
    qemu-img resize -q "$disk.new" "$DISK_SIZE"
  fi
  mv -- "$disk.new" "$disk"
fi

accel=tcg
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
  accel=kvm
fi
accel=${ACCEL:-$accel}
# QEMU's own emulation of cmpxchg16b makes kernels from 6.12 on fail at random.
cpu=Westmere,cx16=off
if [ "$accel" = kvm ]; then
  cpu=host
fi

# The cards come first: the first one is then ens3.
devices=()
for index in "${!macs[@]}"; do
  network=NET_$index
  devices+=(
    -netdev "${!network:-socket,mcast=${segments[index]}},id=net$index"
    -device "virtio-net-pci,netdev=net$index,mac=${macs[index]}"
  )
done
devices+=(
  -drive "if=none,id=root,format=qcow2,discard=unmap,file=${disk//,/,,}"
  -device "virtio-blk-pci,drive=root,bootindex=0"
)
if [ "$data" = yes ]; then
  if [ ! -e "$disks/data.qcow2" ]; then
    qemu-img create -q -f qcow2 "$disks/data.qcow2" "${DATA_SIZE:-10G}"
  fi
  devices+=(
    -drive "if=none,id=data,format=qcow2,discard=unmap,file=${disks//,/,,}/data.qcow2"
    -device "virtio-blk-pci,drive=data${serial:+,serial=$serial}"
  )
fi
devices+=(
  -drive "if=none,id=seed,format=raw,readonly=on,file=${here//,/,,}/seed.iso"
  -device "virtio-blk-pci,drive=seed"
)
# Once the member has its keys, keys.iso may go.
if [ "$split" = yes ] && [ -e "$keys" ]; then
  devices+=(
    -drive "if=none,id=keys,format=raw,readonly=on,file=${keys//,/,,}"
    -device "virtio-blk-pci,drive=keys"
  )
fi

exec "${QEMU:-qemu-system-x86_64}" -name "$name" -machine "pc,accel=$accel" -cpu "$cpu" \
  -smp "${CPUS:-2}" -m "${MEMORY:-1024}" -display none -serial mon:stdio \
  -device virtio-rng-pci "${devices[@]}" "$@"
"""


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The script, and the seed it attaches."""
    cluster, member = documents.cluster, documents.member
    cards = made_macs(cluster, member)
    serial = data_disk_serial(cluster)
    facts = {
        "name": shlex.quote(member.name),
        "cluster": shlex.quote(cluster.name),
        "macs": f"({shlex.join(cards)})",
        "segments": f"({shlex.join(_segments(cluster, len(cards)))})",
        "split": "yes" if documents.secrets == Secrets.SPLIT else "no",
        "data": "no" if serial is None else "yes",
        "serial": shlex.quote(serial or ""),
    }
    script = "#!/usr/bin/env bash\nset -euo pipefail\n"
    script += "".join(f"{key}={value}\n" for key, value in facts.items()) + _SCRIPT
    folder = f"{documents.folder}/qemu"
    seed = build_seed(documents.files(), bundle=documents.bundle, when=cluster.identity.created)
    return Payload(files={f"{folder}/run.sh": script.encode(), f"{folder}/{SEED}": seed})


def _segments(cluster: Cluster, count: int) -> list[str]:
    """A multicast address of the cluster's own for each card (RFC 2365: 239.192.0.0/14)."""
    digest = hashlib.sha256(f"{cluster.identity.store_id}\0{cluster.name}".encode()).digest()
    group = f"239.{192 + digest[0] % 4}.{digest[1]}.{digest[2]}"
    return [f"{group}:{20000 + index}" for index in range(count)]


TARGETS = (
    Target(
        name="qemu",
        makes="members/NAME/qemu/run.sh, which starts the member with QEMU, and its seed.iso",
        encoding="ISO 9660",
        carries_bundle=True,
        attach="IMAGE=... members/NAME/qemu/run.sh for each member (its first lines say what else"
        " it takes from the environment)",
        source="https://www.qemu.org/docs/master/system/invocation.html;"
        " https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html",
        unverified="the script's machine was started by QEMU 7.2, its guest not booted",
        package=package,
    ),
)
