"""OpenStack: user-data for Nova, and a script that creates the server.

Nova takes up to 65,535 characters of base64 (nova, api/openstack/compute/schemas/servers.py,
``user_data``), which plain user-data of ours is above; compressed it is a
third of that. ``openstack server create --user-data`` does the base64 itself.
Horizon's form takes 16 KB only.

The guest reads it from Nova's metadata service, as any of its processes can,
or from a config drive that Nova makes. Meta-data is Nova's too: the
instance-id is the server's UUID, and the network is what Neutron knows of the
ports; our meta-data and network-config have no way in. So the addresses of
the spec are given to the ports. MAC addresses are left to Neutron: by its
default policy only a network's owner may choose them.
"""

from __future__ import annotations

from shlex import quote

from imagegen.documents import guest
from imagegen.documents.netconfig import addresses_by_nic
from imagegen.documents.render import NodeDocuments
from imagegen.media.encodings import Encoding, encoded
from imagegen.spec.secrets import Secrets
from imagegen.targets.payload import Limit, Options, Payload, Readers, Target

LIMIT = Limit(bytes=65_535, of="user-data in base64")


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """Compressed user-data, and the script that starts a server with it."""
    user_data = encoded(documents.user_data.encode(), Encoding.GZIP)
    folder = f"{documents.folder}/openstack"
    return Payload(
        files={
            f"{folder}/user-data.gz": user_data,
            f"{folder}/create-server": create_server(documents).encode(),
        },
        # Four characters of base64 for three bytes.
        counted=-(-len(user_data) // 3) * 4,
    )


def create_server(documents: NodeDocuments) -> str:
    """A script around ``openstack server create``."""
    name = documents.member.name
    nics = addresses_by_nic(documents.member.plan)
    networks = ["NETWORK", *(f"NETWORK_{index}" for index in range(1, len(nics)))]
    needed = " ".join(
        f'"${{{network}:?set it to the network of NIC {index}}}"'
        for index, network in enumerate(networks)
    )
    ports, options = "", ""
    for index, addresses in enumerate(nics):
        fixed = "".join(f" --fixed-ip {quote(f'ip-address={address}')}" for address in addresses)
        ports += f'port_{index}=$(port {quote(f"{name}-{index}")} "${networks[index]}"{fixed})\n'
        options += f'  --port "$port_{index}" \\\n'
    keys, after = "", ""
    if documents.secrets == Secrets.SPLIT:
        label = guest.keys_label(documents.member.instance_id)
        keys = f"""
# The member's private keys: an image that only this project sees, and a volume of it.
keys=$(openstack image list --name {label} --format value --column ID)
[ -n "$keys" ] || keys=$(openstack image create --private --disk-format iso \\
  --container-format bare --file "$here/../keys.iso" --format value --column id {label})
"""
        options += (
            '  --block-device "uuid=$keys,source_type=image,destination_type=volume,volume_size=1,'
            'boot_index=-1,delete_on_termination=true" \\\n'
        )
        after = (
            'echo "Once it is healthy: openstack server remove volume, openstack volume delete,'
            ' and openstack image delete $keys" >&2\n'
        )
    return f"""#!/usr/bin/env bash
# Creates the server of {name}; further options of `openstack server create`, such as
# --key-name or --use-config-drive, may be given as arguments.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${{IMAGE:?set it to the image, by name or ID}}" "${{FLAVOR:?set it to the flavor}}"
: {needed}

existing=$(openstack server list --name {quote(f"^{name}$")} --format value --column ID)
if [ -n "$existing" ]; then
  echo {quote(name)}" exists already: $existing" >&2
  exit 1
fi

# A port of that name is taken as it is; else it is made, with the member's addresses.
# Security groups belong to ports: a server does not hand its own to those it is given.
port() {{
  local name=$1 network=$2 id
  shift 2
  id=$(openstack port list --name "$name" --format value --column ID)
  [ -n "$id" ] || id=$(openstack port create --network "$network" "$@" \\
    ${{SECURITY_GROUP:+--security-group "$SECURITY_GROUP"}} --format value --column id "$name")
  echo "$id"
}}
{ports}{keys}
openstack server create --image "$IMAGE" --flavor "$FLAVOR" \\
{options}  --user-data "$here/user-data.gz" "$@" {quote(name)}
{after}"""


TARGETS = (
    Target(
        name="openstack",
        makes="members/NAME/openstack/: user-data.gz, and a script that creates the server",
        encoding="gzip",
        limit=LIMIT,
        readers=Readers.GUEST,
        attach="run each member's openstack/create-server with IMAGE, FLAVOR and NETWORK set"
        " (the instance-id is the server's UUID there)",
        source="https://docs.openstack.org/nova/latest/user/metadata.html",
        package=package,
        unverified="the script's options are those of the real client; never run against a real"
        " OpenStack; that Cinder makes a volume of an ISO image was not tried",
    ),
)
