"""KubeVirt: a VirtualMachine for each member, with its documents in a Secret.

KubeVirt makes the NoCloud disk itself. Documents inline may have 2,048 bytes,
so they are in a Secret, which may have 1 MiB, under the keys ``userdata`` and
``networkdata`` (kubevirt/kubevirt, vmi-create-admitter.go and
pkg/cloud-init/cloud-init.go). Meta-data cannot be given: KubeVirt writes the
firmware's UUID as instance-id and ``hostname`` as local-hostname. So the UUID
is given, made from the member's own instance-id: it is a new one when
``generation`` is raised, and at no other time.

With ``--secrets split`` a second file has the Secret with the private keys.
KubeVirt makes a disk of it with the label it is told (pkg/config/secret.go),
and ``vm.yaml`` holds no key. Both disks are virtio disks, which in the guest
only root and group disk read, and no CDs, which group cdrom reads too.

What the operator provides has a fixed name, and the machine waits for it:

* ``NAME-root``, a DataVolume or PersistentVolumeClaim with an image that has
  cloud-init. No containerDisk: that would lose a member's data at each restart.
* ``NAME-data`` likewise, blank, if the spec has a data_disk.
* ``CLUSTER``, a NetworkAttachmentDefinition (Multus) of the members' network;
  ``CLUSTER-1`` and so on for further NICs. The pod network would hide the
  members' addresses from each other.

Names, sizes and the rest are plain fields that kustomize patches. Members do
not share a host, and a drain moves a member or waits: evicted, two at a time,
they would take the quorum along.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from imagegen.cluster.hardware import data_disk_serial, macs
from imagegen.documents import guest
from imagegen.documents.render import NodeDocuments
from imagegen.documents.templates import yaml_block
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER
from imagegen.targets.payload import Limit, Options, Payload, Target


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The member's Secret and machine, and its keys' Secret apart from them."""
    name = documents.member.name
    data = {"userdata": documents.user_data.encode()}
    if yaml.load(documents.network_config, Loader=LOADER):  # noqa: S506  # a safe loader
        data["networkdata"] = documents.network_config.encode()
    manifests = [
        secret(documents, f"{name}-seed", data),
        virtual_machine(documents, with_network="networkdata" in data),
    ]
    folder = f"{documents.folder}/kubevirt"
    files = {f"{folder}/vm.yaml": "---\n".join([_needs(documents), *map(_dump, manifests)])}
    if documents.secrets == Secrets.SPLIT:
        keys = {key: text.encode() for key, text in documents.keys.items()}
        files[f"{folder}/keys.yaml"] = _dump(secret(documents, f"{name}-keys", keys))
    return Payload(
        files={path: text.encode() for path, text in files.items()},
        counted=sum(map(len, data.values())),
    )


def firmware_uuid(instance_id: str) -> str:
    """The UUID that KubeVirt tells cloud-init as instance-id, for one of ours."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"imagegen:instance-id:{instance_id}"))


def secret(documents: NodeDocuments, name: str, data: Mapping[str, bytes]) -> dict[str, Any]:
    """A Secret of the member's."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": _labels(documents)},
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def virtual_machine(documents: NodeDocuments, *, with_network: bool) -> dict[str, Any]:
    """The member's machine."""
    name = documents.member.name
    volumes = dict(_volumes(documents, with_network=with_network))
    networks = list(_networks(documents))
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "labels": _labels(documents)},
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": {"labels": _labels(documents)},
                "spec": {
                    "hostname": name,
                    "evictionStrategy": "LiveMigrate",
                    "terminationGracePeriodSeconds": 180,
                    "affinity": {"podAntiAffinity": _one_to_a_host(documents)},
                    "domain": {
                        "firmware": {"uuid": firmware_uuid(documents.member.instance_id)},
                        "cpu": {"cores": 2},
                        "memory": {"guest": "4Gi"},
                        "devices": {
                            "rng": {},
                            "disks": [
                                {"name": volume, "disk": {"bus": "virtio"}, **settings}
                                for volume, (_, settings) in volumes.items()
                            ],
                            "interfaces": [interface for _, interface in networks],
                        },
                    },
                    "networks": [network for network, _ in networks],
                    "volumes": [
                        {"name": volume, **source} for volume, (source, _) in volumes.items()
                    ],
                },
            },
        },
    }


def _volumes(
    documents: NodeDocuments, *, with_network: bool
) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]:
    """Each volume's name, its source, and what its disk has beside the bus."""
    name = documents.member.name
    yield "root", ({"dataVolume": {"name": f"{name}-root"}}, {"bootOrder": 1})
    seed = {"secretRef": {"name": f"{name}-seed"}}
    if with_network:
        seed["networkDataSecretRef"] = {"name": f"{name}-seed"}
    yield "seed", ({"cloudInitNoCloud": seed}, {})
    if documents.secrets == Secrets.SPLIT:
        label = guest.keys_label(documents.member.instance_id)
        yield "keys", ({"secret": {"secretName": f"{name}-keys", "volumeLabel": label}}, {})
    serial = data_disk_serial(documents.cluster)
    if serial is not None:
        settings = {"serial": serial} if serial else {}
        yield "data", ({"dataVolume": {"name": f"{name}-data"}}, settings)


def _networks(documents: NodeDocuments) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each NIC's network and interface."""
    for index, mac in enumerate(macs(documents.member)):
        name = f"net{index}"
        interface: dict[str, Any] = {"name": name, "bridge": {}}
        if mac:
            interface["macAddress"] = mac
        yield {"name": name, "multus": {"networkName": _network(documents, index)}}, interface


def _network(documents: NodeDocuments, index: int) -> str:
    return f"{documents.cluster.name}-{index}" if index else documents.cluster.name


def _labels(documents: NodeDocuments) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "etcd",
        "app.kubernetes.io/instance": documents.cluster.name,
    }


def _one_to_a_host(documents: NodeDocuments) -> dict[str, Any]:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": _labels(documents)},
    }
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


def _needs(documents: NodeDocuments) -> str:
    """What the machine waits for, as comments."""
    name, nics = documents.member.name, 1 + len(documents.member.plan.nics)
    needs = [f"DataVolume or PersistentVolumeClaim {name}-root, with an image that has cloud-init"]
    if documents.cluster.spec.data_disk:
        needs.append(f"DataVolume or PersistentVolumeClaim {name}-data, blank")
    needs += [f"NetworkAttachmentDefinition {_network(documents, index)}" for index in range(nics)]
    if documents.secrets == Secrets.SPLIT:
        needs.append(f"Secret {name}-keys: keys.yaml beside this file")
    return "".join(f"{line}\n" for line in ("# Waits for:", *(f"#   {need}" for need in needs)))


def _dump(manifest: Mapping[str, Any]) -> str:
    return f"{yaml_block(manifest)}\n"


TARGETS = (
    Target(
        name="kubevirt",
        makes="members/NAME/kubevirt/vm.yaml, a Secret and a VirtualMachine",
        encoding="base64 in a Secret",
        limit=Limit(bytes=1024 * 1024, of="user-data and network-config, before base64"),
        attach="make what the first lines of vm.yaml list, then kubectl apply --server-side"
        " -n NAMESPACE -f each of its files (without --server-side, kubectl keeps a second copy"
        " of the Secret in an annotation). The instance-id is the firmware's UUID, made from ours."
        " Whoever reads Secrets in the namespace reads the keys",
        source="https://kubevirt.io/user-guide/user_workloads/startup_scripts/",
        unverified="rendered only: never applied to a cluster",
        package=package,
    ),
)
