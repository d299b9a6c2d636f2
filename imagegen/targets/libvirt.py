"""libvirt: scripts that bring a member's disks into a pool and install it, and its domain XML.

The seed is attached as a read-only virtio disk of our own rather than by
virt-install's --cloud-init: that one packs a seed of its own, attaches it for
the first boot alone (virt-install(1)) and has no place in domain XML. A seed
that is there at every boot keeps an image whose datasource_list ends in None
from taking the second boot for another instance's first
(canonical/cloud-init#3777); and what was checked when it was built is what the
member reads. A virtio disk needs no driver that Debian's cloud kernel lacks,
and in the guest it belongs to root and the group disk alone.
"""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from imagegen.cluster.hardware import data_disk_serial, made_macs
from imagegen.documents.names import SEED
from imagegen.documents.render import NodeDocuments
from imagegen.media.nocloud import build_seed
from imagegen.spec.secrets import Secrets
from imagegen.targets.payload import Options, Payload, Target

_UPLOAD = r"""
# Brings the member's disks into a storage pool, through libvirt, so it works for a
# remote host too. A member's own disks are made once and then left alone; its seed
# (and its keys' disk) is replaced, which a running machine sees at its next start.
#   IMAGE      a cloud image in qcow2, needed for the first time; it is copied
#   POOL       the storage pool, of files (default: default)
#   DISK_SIZE  what the member's disk grows to (default: as large as IMAGE)
#   DATA_SIZE  of the data disk, if the spec has one (default: 10G)
#   LIBVIRT_DEFAULT_URI  which libvirt, as virsh and virt-install know it
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
pool=${POOL:-default}

has() { virsh --quiet vol-info --pool "$pool" "$1" >/dev/null 2>&1; }

upload() { # FILE VOLUME FORMAT
  local size
  size=$(stat -L -c %s -- "$1")
  virsh --quiet vol-create-as "$pool" "$2" "${size}B" --format "$3"
  if ! virsh --quiet vol-upload --pool "$pool" "$2" "$1"; then
    virsh --quiet vol-delete --pool "$pool" "$2"
    exit 1
  fi
}

replace() { # FILE VOLUME
  if has "$2"; then
    virsh --quiet vol-delete --pool "$pool" "$2"
  fi
  upload "$1" "$2" raw
}

virsh --quiet pool-info "$pool" >/dev/null
if ! has "$root"; then
  : "${IMAGE:?give a cloud image in qcow2}"
  if [ "$(head -c 3 -- "$IMAGE" | tr -d '\0')" != QFI ]; then
    echo "$IMAGE is not qcow2: qemu-img convert -O qcow2 makes it so" >&2
    exit 1
  fi
  upload "$IMAGE" "$root" qcow2
  if [ -n "${DISK_SIZE:-}" ]; then
    virsh --quiet vol-resize --pool "$pool" "$root" "$DISK_SIZE"
  fi
fi
if [ -n "$data" ] && ! has "$data"; then
  virsh --quiet vol-create-as "$pool" "$data" "${DATA_SIZE:-10G}" --allocation 0 --format qcow2
fi
replace "$here/seed.iso" "$seed"
if [ -n "$keys" ] && [ -e "$here/../keys.iso" ]; then
  replace "$here/../keys.iso" "$keys"
fi
"""

_INSTALL = r"""
# Makes the member's machine of the volumes that upload.sh made, and starts it.
# Arguments are passed on to virt-install, such as --print-xml or --dry-run.
#   POOL    the storage pool (default: default)
#   NET_0   the first network card, as virt-install's --network takes it: NET_0=bridge=br0
#           (default: network=default); NET_1 the next
#   MEMORY  in MiB (default: 1024)
#   CPUS    (default: 2)
#   OSINFO  what the image is, see osinfo-query os (default: linux2020)
#   LIBVIRT_DEFAULT_URI  which libvirt, as virsh and virt-install know it
pool=${POOL:-default}

devices=(--disk "vol=$pool/$root,bus=virtio,driver.type=qcow2")
if [ -n "$data" ]; then
  devices+=(--disk "vol=$pool/$data,bus=virtio,driver.type=qcow2${serial:+,serial=$serial}")
fi
devices+=(--disk "vol=$pool/$seed,bus=virtio,driver.type=raw,readonly=on")
# Once the member has its keys: virsh detach-disk, and virsh vol-delete.
if [ -n "$keys" ]; then
  devices+=(--disk "vol=$pool/$keys,bus=virtio,driver.type=raw,readonly=on")
fi
for index in "${!macs[@]}"; do
  network=NET_$index
  devices+=(--network "${!network:-network=default},model=virtio,mac=${macs[index]}")
done

exec virt-install --name "$name" --memory "${MEMORY:-1024}" --vcpus "${CPUS:-2}" \
  --osinfo "${OSINFO:-linux2020}" --import --graphics none --noautoconsole \
  --rng /dev/urandom "${devices[@]}" "$@"
"""


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """Both scripts, the domain XML and the seed."""
    facts = _facts(documents)
    cards = made_macs(documents.cluster, documents.member)
    prelude = "#!/usr/bin/env bash\nset -euo pipefail\n"
    volumes = "".join(f"{key}={shlex.quote(facts[key])}\n" for key in _VOLUMES)
    machine = f"name={shlex.quote(documents.member.name)}\nserial={shlex.quote(facts['serial'])}\n"
    macs = f"macs=({shlex.join(cards)})\n"
    when = documents.cluster.identity.created
    files = {
        "upload.sh": (prelude + volumes + _UPLOAD).encode(),
        "virt-install.sh": (prelude + volumes + machine + macs + _INSTALL).encode(),
        "domain.xml": _domain(documents.member.name, cards, facts),
        SEED: build_seed(documents.files(), bundle=documents.bundle, when=when),
    }
    folder = f"{documents.folder}/libvirt"
    return Payload(files={f"{folder}/{name}": data for name, data in files.items()})


_VOLUMES = ("root", "data", "seed", "keys")


def _facts(documents: NodeDocuments) -> dict[str, str]:
    """The names of the member's volumes; empty for those it has not."""
    serial = data_disk_serial(documents.cluster)
    prefix = f"{documents.cluster.name}.{documents.member.name}"
    return {
        "root": f"{prefix}.qcow2",
        "data": "" if serial is None else f"{prefix}.data.qcow2",
        "seed": f"{prefix}.seed.iso",
        "keys": f"{prefix}.keys.iso" if documents.secrets == Secrets.SPLIT else "",
        "serial": serial or "",
    }


def _domain(name: str, cards: Sequence[str], facts: dict[str, str]) -> bytes:
    """The same machine for ``virsh define``, in the pool and network called default."""
    domain = ET.Element("domain", type="kvm")
    _add(domain, "name", name)
    _add(domain, "memory", "1024", unit="MiB")
    _add(domain, "vcpu", "2")
    _add(_add(domain, "os"), "type", "hvm", arch="x86_64", machine="q35")
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _add(domain, "cpu", mode="host-passthrough")
    devices = _add(domain, "devices")
    names = [facts[key] for key in _VOLUMES if facts[key]]
    for letter, volume in zip("abcd", names, strict=False):
        disk = _add(devices, "disk", type="volume", device="disk")
        _add(disk, "driver", name="qemu", type="raw" if volume.endswith(".iso") else "qcow2")
        _add(disk, "source", pool="default", volume=volume)
        _add(disk, "target", dev=f"vd{letter}", bus="virtio")
        if volume.endswith(".iso"):
            _add(disk, "readonly")
        if volume == facts["data"] and facts["serial"]:
            _add(disk, "serial", facts["serial"])
        if volume == facts["root"]:
            _add(disk, "boot", order="1")
    for mac in cards:
        card = _add(devices, "interface", type="network")
        _add(card, "mac", address=mac)
        _add(card, "source", network="default")
        _add(card, "model", type="virtio")
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")
    _add(_add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    ET.indent(domain)
    return ET.tostring(domain) + b"\n"


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text or None
    return element


TARGETS = (
    Target(
        name="libvirt",
        makes="members/NAME/libvirt/: upload.sh and virt-install.sh, domain.xml, seed.iso",
        encoding="ISO 9660",
        carries_bundle=True,
        attach="IMAGE=... upload.sh, then virt-install.sh; or, where the pool and the network are"
        " called default, virsh define domain.xml",
        source="https://libvirt.org/formatdomain.html;"
        " https://github.com/virt-manager/virt-manager/blob/main/man/virt-install.rst",
        unverified="libvirt 9.0 started the machine, with QEMU 7.2, but its guest was not booted;"
        " domain.xml was judged by libvirt's schema and parser only",
        package=package,
    ),
)
