"""vSphere: guestinfo values for cloud-init's datasource VMware, and a script that sets them.

``guestinfo.metadata`` carries instance-id, local-hostname and network-config
(docs.cloud-init.io, reference/datasources/vmware). It is read at every boot,
so it is not redacted; ``redact`` has cloud-init overwrite user-data and
vendor-data in guestinfo once it has read them, before it configures the
network. Whether what was overwritten stays so over a power cycle no primary
source says.

Any process in the guest may ask for guestinfo: ``vmware-rpctool 'info-get
guestinfo.userdata'`` needs no privilege unless the machine's
``guest_rpc.rpci.auth.cmd.info-get`` says so, and then cloud-init's own request
can fail (vmware/open-vm-tools#288, #690). So does anyone in vCenter who may
read the machine's settings. Hence private keys travel apart by default.

A value is 64 KiB at most by open-vm-tools' GUESTMSG_MAX_IN_SIZE, as
vmware-tanzu/vm-operator#148 reads it; vmware/govmomi#2158 knows only the 1 MiB
of all settings together.
"""

from __future__ import annotations

import json
import shlex

import yaml

from imagegen.cluster.hardware import macs
from imagegen.documents.render import NodeDocuments
from imagegen.media.encodings import Encoding, encoded
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER
from imagegen.targets.payload import Limit, Options, Payload, Readers, Target

_SCRIPT = r"""
# Gives the member's machine, which is there and off, its documents. cloud-init in the
# image needs its datasource VMware and open-vm-tools.
#   VM          its inventory path
#   GOVC_URL    and the other settings of govc (0.27 or later, for vm.change -f): which
#               vCenter or ESXi host, and who asks
#   DATASTORE, FOLDER  where the keys' disc goes (default: govc's datastore, imagegen)
#   CONTROLLER  of its CD drive (default: the first IDE controller)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
: "${VM:?give the inventory path of the machine}" "${GOVC_URL:?say which vCenter}"

state=$(govc vm.info "$VM")
if [[ $state != *poweredOff* ]]; then
  echo "$VM is not there, or not off: guestinfo is read while it boots" >&2
  exit 1
fi
if [ ${#macs[@]} -gt 0 ]; then
  echo "network-config looks for cards by MAC address: ${macs[*]}"
fi

# Once the member has its keys: govc device.cdrom.eject, and govc datastore.rm.
if [ "$split" = yes ]; then
  datastore=(${DATASTORE:+-ds "$DATASTORE"})
  folder=${FOLDER:-imagegen}
  govc datastore.mkdir "${datastore[@]}" -p "$folder"
  govc datastore.upload "${datastore[@]}" "$here/../keys.iso" "$folder/$prefix.keys.iso"
  drives=$(govc device.info -vm "$VM" 'cdrom-*' 2>/dev/null || true)
  if [[ $drives != *"$folder/$prefix.keys.iso"* ]]; then
    drive=$(govc device.cdrom.add -vm "$VM" ${CONTROLLER:+-controller "$CONTROLLER"})
    govc device.cdrom.insert -vm "$VM" "${datastore[@]}" -device "$drive" \
      "$folder/$prefix.keys.iso"
  fi
fi

# From files: a command line can be read by every user of this host.
govc vm.change -vm "$VM" \
  -e guestinfo.metadata.encoding=base64 -f guestinfo.metadata="$here/metadata" \
  -e guestinfo.userdata.encoding=gzip+base64 -f guestinfo.userdata="$here/userdata"
"""


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """Both values, encoded as they are set, and the script."""
    values = {
        "metadata": encoded(metadata(documents), Encoding.BASE64),
        "userdata": encoded(documents.user_data.encode(), Encoding.GZIP_BASE64),
    }
    member = documents.member
    facts = {
        "prefix": shlex.quote(f"{documents.cluster.name}.{member.name}"),
        "macs": f"({shlex.join(mac for mac in macs(member) if mac)})",
        "split": "yes" if documents.secrets == Secrets.SPLIT else "no",
    }
    script = "#!/usr/bin/env bash\nset -euo pipefail\n"
    script += "".join(f"{key}={value}\n" for key, value in facts.items()) + _SCRIPT
    folder = f"{documents.folder}/vsphere"
    return Payload(
        files={f"{folder}/{name}": value for name, value in values.items()}
        | {f"{folder}/set-guestinfo.sh": script.encode()},
        counted=max(map(len, values.values())),
    )


def metadata(documents: NodeDocuments) -> bytes:
    """What guestinfo.metadata is, before it is encoded."""
    meta, network = (
        yaml.load(text, Loader=LOADER)  # noqa: S506  # a safe loader
        for text in (documents.meta_data, documents.network_config)
    )
    if network is not None:
        meta["network"] = network
    meta["redact"] = ["userdata", "vendordata"]
    return json.dumps(meta, indent=1).encode()


TARGETS = (
    Target(
        name="vsphere",
        makes="members/NAME/vsphere/: guestinfo values metadata and userdata, set-guestinfo.sh",
        encoding="gzip+base64",
        limit=Limit(bytes=64 * 1024, of="a guestinfo value"),
        readers=Readers.GUEST,
        attach="VM=... GOVC_URL=... members/NAME/vsphere/set-guestinfo.sh for each machine, while"
        " it is off; or set guestinfo.metadata (base64) and guestinfo.userdata (gzip+base64) from"
        " these files by other means",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/vmware.html;"
        " https://github.com/vmware/open-vm-tools/issues/288;"
        " https://github.com/vmware-tanzu/vm-operator/issues/148",
        unverified="tried with govc and its simulator vcsim, never against a vCenter or ESXi host;"
        " whether a value may be larger than 64 KiB; whether redacted values stay so over a power"
        " cycle",
        package=package,
    ),
)
