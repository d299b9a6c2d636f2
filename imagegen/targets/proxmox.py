"""Proxmox VE: snippets for ``cicustom``, and a script of qm commands.

At each start of a machine Proxmox writes the snippets, as they are, to a disc
labelled cidata, with files of 1 MiB at most (qemu-server,
src/PVE/QemuServer/Cloudinit.pm). Without ``meta=`` its instance-id is a
digest of user-data and network-config, so that any change to them would make
first boot run again: meta is always given. network is given too, and says
nothing where the spec has none, which is cloud-init's DHCP.

In the guest the disc belongs to root and the group cdrom, which holds the
image's own user in Debian's and Ubuntu's images; no other process reads it.
On the host, ``qm cloudinit dump`` shows what Proxmox itself would generate,
not the snippets; those have mode 0600, but the disc made of them is a volume
of the machine, in its snapshots and backups too.
"""

from __future__ import annotations

import shlex

from imagegen.cluster.hardware import data_disk_serial, made_macs
from imagegen.documents.render import NodeDocuments
from imagegen.spec.secrets import Secrets
from imagegen.targets.payload import Limit, Options, Payload, Target

_SCRIPT = r"""
# Makes the member's machine on this Proxmox VE node, as root; qm start VMID starts it.
#   VMID     a free number
#   IMAGE    a cloud image on this node
#   STORAGE  for the member's disks and the disc that Proxmox makes of the snippets
#   SNIPPETS, SNIPPET_STORAGE  where snippets are kept (default: /var/lib/vz/snippets,
#            local), a storage with content type snippets; for a machine that migrates,
#            one that all nodes share
#   ISOS, ISO_STORAGE  where the keys' disc is kept (default: /var/lib/vz/template/iso, local)
#   NET_0    the first network card, as qm's --net0 takes it after the model
#            (default: bridge=vmbr0); NET_1 the next
#   MEMORY   in MiB (default: 1024)
#   CPUS     (default: 2)
#   DATA_SIZE  of the data disk, if the spec has one, in GiB (default: 10)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
: "${VMID:?give a free number}" "${STORAGE:?give a storage for the disks}"
image=$(realpath -e -- "${IMAGE:?give a cloud image on this node}")
snippets=${SNIPPETS:-/var/lib/vz/snippets}
snippet_storage=${SNIPPET_STORAGE:-local}

if qm status "$VMID" >/dev/null 2>&1; then
  echo "machine $VMID is already there; for changed documents copy the snippets anew:" >&2
  echo "install -m 0600 -t $snippets $here/$prefix.*.yaml && qm cloudinit update $VMID" >&2
  exit 1
fi

install -d -m 0755 -- "$snippets"
install -m 0600 -t "$snippets" -- \
  "$here/$prefix.user.yaml" "$here/$prefix.meta.yaml" "$here/$prefix.network.yaml"

volume=$snippet_storage:snippets/$prefix
# SCSI for the disc: Debian's cloud kernel drives no IDE or SATA one on some machine types.
machine=(
  --name "$name" --ostype l26 --memory "${MEMORY:-1024}" --cores "${CPUS:-2}" --cpu host
  --scsihw virtio-scsi-pci --virtio0 "$STORAGE:0,import-from=$image" --boot order=virtio0
  --serial0 socket --vga serial0 --rng0 source=/dev/urandom
  --citype nocloud --scsi1 "$STORAGE:cloudinit"
  --cicustom "user=$volume.user.yaml,meta=$volume.meta.yaml,network=$volume.network.yaml"
)
if [ "$data" = yes ]; then
  machine+=(--virtio1 "$STORAGE:${DATA_SIZE:-10}${serial:+,serial=$serial}")
fi
# Once the member has its keys: qm set VMID --delete scsi2, and remove the file.
if [ "$split" = yes ]; then
  isos=${ISOS:-/var/lib/vz/template/iso}
  install -d -m 0755 -- "$isos"
  install -m 0600 -- "$here/../keys.iso" "$isos/$prefix.keys.iso"
  machine+=(--scsi2 "${ISO_STORAGE:-local}:iso/$prefix.keys.iso,media=cdrom")
fi
for index in "${!macs[@]}"; do
  network=NET_$index
  machine+=("--net$index" "virtio=${macs[index]},${!network:-bridge=vmbr0}")
done

qm create "$VMID" "${machine[@]}"
"""


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The script and its snippets, named so that no two members' clash in one storage."""
    member = documents.member
    prefix = f"{documents.cluster.name}.{member.name}"
    serial = data_disk_serial(documents.cluster)
    facts = {
        "name": shlex.quote(member.name),
        "prefix": shlex.quote(prefix),
        "macs": f"({shlex.join(made_macs(documents.cluster, member))})",
        "split": "yes" if documents.secrets == Secrets.SPLIT else "no",
        "data": "no" if serial is None else "yes",
        "serial": shlex.quote(serial or ""),
    }
    script = "#!/usr/bin/env bash\nset -euo pipefail\n"
    script += "".join(f"{key}={value}\n" for key, value in facts.items()) + _SCRIPT
    snippets = {
        f"{prefix}.user.yaml": documents.user_data.encode(),
        f"{prefix}.meta.yaml": documents.meta_data.encode(),
        f"{prefix}.network.yaml": documents.network_config.encode(),
    }
    folder = f"{documents.folder}/proxmox"
    return Payload(
        files={f"{folder}/{name}": data for name, data in snippets.items()}
        | {f"{folder}/create.sh": script.encode()},
        counted=max(map(len, snippets.values())),
    )


TARGETS = (
    Target(
        name="proxmox",
        makes="members/NAME/proxmox/: snippets and create.sh, a script of qm commands",
        encoding="plain",
        limit=Limit(bytes=1024 * 1024, of="a snippet"),
        attach="copy members/NAME to the node, and there, as root: VMID=... IMAGE=... STORAGE=..."
        " proxmox/create.sh (Proxmox VE 7.2 or later, for import-from)",
        source="https://github.com/proxmox/qemu-server/blob/master/src/PVE/QemuServer/Cloudinit.pm;"
        " https://pve.proxmox.com/pve-docs/qm.1.html",
        unverified="never run on a Proxmox VE node",
        package=package,
    ),
)
