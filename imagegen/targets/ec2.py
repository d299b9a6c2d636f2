"""Amazon EC2: user-data, the rest of a RunInstances request, and a script that sends it.

EC2 takes 16 KB of user-data before base64 (docs.aws.amazon.com, EC2 User
Guide, "Work with instance user data"). Ours is compressed. It cannot stand in
the JSON request: the AWS CLI encodes ``UserData`` of that once more (botocore,
``base64_encode_user_data``), JSON holds no binary data, and cloud-init 22.4
does not decode twice. The script gives it as ``--user-data fileb://``.

Any process in the guest can read it from the metadata service; the request
asks for session tokens and allows one network hop, which keeps containers
and open proxies out. Meta-data is EC2's: the instance-id is its own, and our
meta-data and network-config have no way in. So the addresses of the spec are
given to the network interfaces.

A disk with private keys is a volume here. EC2 makes volumes of snapshots, and
a snapshot's blocks can be written directly (EBS direct APIs): keys.iso fits
into one of 512 KiB.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from shlex import quote
from typing import Any

from imagegen.documents.netconfig import addresses_by_nic
from imagegen.documents.render import NodeDocuments
from imagegen.media.encodings import Encoding, encoded
from imagegen.spec.secrets import Secrets
from imagegen.spec.words import Address
from imagegen.targets.payload import Limit, Options, Payload, Readers, Target

LIMIT = Limit(bytes=16 * 1024, of="user-data before base64")


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """Compressed user-data, the request without it, and the script that sends both."""
    user_data = encoded(documents.user_data.encode(), Encoding.GZIP)
    folder = f"{documents.folder}/ec2"
    return Payload(
        files={
            f"{folder}/user-data.gz": user_data,
            f"{folder}/request.json": json.dumps(request(documents), indent=1).encode() + b"\n",
            f"{folder}/run-instance": run_instance(documents).encode(),
        },
        counted=len(user_data),
    )


def request(documents: NodeDocuments) -> dict[str, Any]:
    """What the spec knows of RunInstances' parameters."""
    tags = {
        "Name": documents.member.name,
        "imagegen:cluster": documents.cluster.name,
        "imagegen:instance-id": documents.member.instance_id,
    }
    instance: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ],
    }
    nics = addresses_by_nic(documents.member.plan)
    if len(nics) > 1:  # the script gives them, with their subnets
        return instance
    [[address]] = nics
    if address.version == 6:
        return instance | {"Ipv6Addresses": [{"Ipv6Address": str(address)}]}
    return instance | {"PrivateIpAddress": str(address)}


def run_instance(documents: NodeDocuments) -> str:
    """A script around ``aws ec2 run-instances``."""
    name, instance_id = documents.member.name, documents.member.instance_id
    nics = addresses_by_nic(documents.member.plan)
    subnets = ["SUBNET_ID", *(f"SUBNET_ID_{index}" for index in range(1, len(nics)))]
    needed = " ".join(f'"${{{name}:?set it to the subnet}}"' for name in subnets)
    if len(nics) == 1:
        network = '--subnet-id "$SUBNET_ID" --security-group-ids "$SECURITY_GROUP_ID"'
    else:
        network = "--network-interfaces"
        for index, addresses in enumerate(nics):
            network += (
                f' \\\n    "DeviceIndex={index},SubnetId=${subnets[index]},'
                f'Groups=$SECURITY_GROUP_ID{_assigned(addresses)}"'
            )
    split = documents.secrets == Secrets.SPLIT
    return f"""#!/usr/bin/env bash
# Starts the instance of {name}; further options of `aws ec2 run-instances`, such as
# --key-name, may be given as arguments.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${{IMAGE_ID:?set it to the AMI}}" "${{INSTANCE_TYPE:?set it to the instance type}}"
: "${{SECURITY_GROUP_ID:?set it to the security group}}" {needed}

existing=$(aws ec2 describe-instances --output text \\
  --filters {quote(f"Name=tag:imagegen:instance-id,Values={instance_id}")} \\
  Name=instance-state-name,Values=pending,running,stopping,stopped \\
  --query 'Reservations[].Instances[].InstanceId')
if [ -n "$existing" ]; then
  echo {quote(name)}" exists already: $existing" >&2
  exit 1
fi
{_KEYS.replace("INSTANCE", quote(instance_id)) if split else ""}
aws ec2 run-instances --cli-input-json "file://$here/request.json" \\
  --user-data "fileb://$here/user-data.gz" \\
  --image-id "$IMAGE_ID" --instance-type "$INSTANCE_TYPE" \\
  {network} \\
{_KEYS_DISK if split else ""}  --query 'Instances[0].InstanceId' --output text "$@"
{_KEYS_AFTER if split else ""}"""


def _assigned(addresses: Sequence[Address]) -> str:
    """A NIC's addresses, in the AWS CLI's shorthand."""
    v4 = [str(address) for address in addresses if address.version == 4]
    v6 = [str(address) for address in addresses if address.version == 6]
    text = f",PrivateIpAddress={v4[0]}" if v4 else ""
    if v4[1:]:
        listed = (f"{{Primary=false,PrivateIpAddress={address}}}" for address in v4[1:])
        text += f",PrivateIpAddresses=[{','.join(listed)}]"
    if v6:
        text += f",Ipv6Addresses=[{','.join(f'{{Ipv6Address={address}}}' for address in v6)}]"
    return text


_KEYS = """
# The member's private keys: a snapshot of one block, and a volume of it.
block=$(mktemp)
trap 'rm -f "$block"' EXIT
cat "$here/../keys.iso" >"$block"
if [ "$(wc -c <"$block")" -gt 524288 ]; then
  echo "keys.iso is larger than the one block this script writes" >&2
  exit 1
fi
truncate --size 524288 "$block"
snapshot=$(aws ebs start-snapshot --volume-size 1 --description INSTANCE \\
  --query SnapshotId --output text)
aws ebs put-snapshot-block --snapshot-id "$snapshot" --block-index 0 --data-length 524288 \\
  --block-data "$block" --checksum-algorithm SHA256 \\
  --checksum "$(openssl dgst -sha256 -binary "$block" | base64)" >/dev/null
aws ebs complete-snapshot --snapshot-id "$snapshot" --changed-blocks-count 1 >/dev/null
aws ec2 wait snapshot-completed --snapshot-ids "$snapshot"
"""
_KEYS_DISK = (
    '  --block-device-mappings "DeviceName=/dev/sdf,Ebs={SnapshotId=$snapshot,VolumeType=gp3,'
    'DeleteOnTermination=true}" \\\n'
)
_KEYS_AFTER = (
    'echo "Once it is healthy: detach and delete the volume, and aws ec2 delete-snapshot'
    ' --snapshot-id $snapshot" >&2\n'
)

TARGETS = (
    Target(
        name="ec2",
        makes="members/NAME/ec2/: user-data.gz, a RunInstances request, and what sends both",
        encoding="gzip",
        limit=LIMIT,
        readers=Readers.GUEST,
        attach="run each member's ec2/run-instance with IMAGE_ID, INSTANCE_TYPE, SUBNET_ID and"
        " SECURITY_GROUP_ID set (the instance-id is EC2's own there)",
        source="https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html",
        package=package,
        unverified="sent by the real AWS CLI to a simulated EC2; never to the real one",
    ),
)
