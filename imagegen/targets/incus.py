"""Incus and LXD: the configuration of a virtual machine for each member, and what launches it.

The documents are the machine's ``cloud-init.user-data`` and
``cloud-init.network-config``. The instance-id is the server's own, a UUID of
``volatile.cloud-init.instance-id`` or the machine's name, and LXD makes a new
one whenever a document changes; but the server puts ``user.meta-data`` after
it, everywhere it gives meta-data, and cloud-init takes the later of two equal
keys. So ours is there, and stands (lxc/incus, cmd/incusd/dev_incus.go and
generateVMConfigDrive in internal/server/device/disk.go; canonical/lxd,
lxd/devlxd.go and lxd/device/disk.go).

The disk ``cloud-init:config`` brings them even to an image without the agent;
it is NoCloud, which cloud-init asks before LXD. Machines only, no containers:
in a machine the agent's socket is root's (mode 0600, cmd/incus-agent and
lxd-agent), in a container every process may ask it (mode 0666,
internal/server/endpoints/dev_incus.go), and a container has no disks.

NICs come from a profile and are called eth0, eth1 and so on there; the script
gives them the members' MAC addresses. A volume of content type iso holds the
keys with ``--secrets split`` (API extension custom_volume_iso, so not LXD 5.0).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import yaml

from imagegen.cluster.hardware import macs
from imagegen.documents.render import NodeDocuments
from imagegen.documents.templates import yaml_block, yaml_text
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER
from imagegen.targets.payload import Options, Payload, Target


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The machine's configuration, and a script that makes and starts it."""
    folder = f"{documents.folder}/incus"
    files = {"instance.yaml": instance(documents), "launch": launch(documents)}
    return Payload(files={f"{folder}/{name}": text.encode() for name, text in files.items()})


def instance(documents: NodeDocuments) -> str:
    """What `incus init` reads."""
    meta_data = yaml.load(documents.meta_data, Loader=LOADER)  # noqa: S506  # a safe loader
    # It is put after other text, so it must be a block without a beginning of its own.
    config = {"user.meta-data": f"{yaml_block(meta_data)}\n"}
    config["cloud-init.user-data"] = documents.user_data
    # The datasource refuses a document that is only a comment.
    if yaml.load(documents.network_config, Loader=LOADER):  # noqa: S506  # a safe loader
        config["cloud-init.network-config"] = documents.network_config
    settings = "".join(f"  {key}: {yaml_text(text, 4)}\n" for key, text in config.items())
    devices = {"cloud-init": {"type": "disk", "source": "cloud-init:config"}}
    return f"config:\n{settings}{yaml_block({'devices': devices})}\n"


def launch(documents: NodeDocuments) -> str:
    """The script."""
    return "\n".join(_lines(documents)) + "\n"


def _lines(documents: NodeDocuments) -> Iterator[str]:
    name = documents.member.name
    split = documents.secrets == Secrets.SPLIT
    cards = macs(documents.member)
    devices = [f"eth{index},hwaddr={mac}" for index, mac in enumerate(cards) if mac]
    yield from (
        "#!/usr/bin/env bash",
        f"# Makes and starts the virtual machine {name}.",
        "#   IMAGE    an image with cloud-init, such as images:debian/13/cloud",
        f"#   PROFILE  the profile with its disk root and its NICs ({_nics(len(cards))}): default",
        "#   CLIENT   incus, or lxc for LXD",
    )
    if split:
        yield "#   POOL     the storage pool for the disk with its keys: default"
    yield from (
        "set -euo pipefail",
        "image=${IMAGE:?say which image: IMAGE=images:debian/13/cloud}",
        "profile=${PROFILE:-default}",
        "client=${CLIENT:-incus}",
    )
    if split:
        yield "pool=${POOL:-default}"
    yield from (
        f"name={shlex.quote(name)}",
        'cd "$(dirname "$0")"',
        "",
        'if "$client" info "$name" </dev/null >/dev/null 2>&1; then',
        '  echo "error: there is an instance $name already" >&2',
        "  exit 1",
        "fi",
    )
    if split:
        yield from (
            "keys=$name-keys",
            'case $("$client" storage volume import --help </dev/null) in',
            "*--type*) ;;",
            "*)",
            '  echo "error: $client is too old to import keys.iso (custom_volume_iso)" >&2',
            "  exit 1",
            "  ;;",
            "esac",
            'if "$client" storage volume show "$pool" "$keys" </dev/null >/dev/null 2>&1; then',
            '  echo "error: there is a volume $keys already; if nothing uses it:" \\',
            '    "$client storage volume delete $pool $keys" >&2',
            "  exit 1",
            "fi",
        )
    overrides = "".join(f" --device {shlex.quote(device)}" for device in devices)
    yield f'"$client" init "$image" "$name" --vm --profile "$profile"{overrides} <instance.yaml'
    if split:
        yield from (
            '"$client" storage volume import "$pool" ../keys.iso "$keys" --type=iso',
            '"$client" config device add "$name" keys disk "pool=$pool" "source=$keys"',
        )
    yield '"$client" start "$name"'
    yield 'echo "once etcd runs: $client config device remove $name cloud-init"'
    if split:
        yield from (
            'echo "and: $client config device remove $name keys"',
            'echo "and: $client storage volume delete $pool $keys"',
        )


def _nics(count: int) -> str:
    return ", ".join(f"eth{index}" for index in range(count))


TARGETS = (
    Target(
        name="incus",
        makes="members/NAME/incus/, a virtual machine's configuration and a script to launch it",
        encoding="plain in YAML",
        attach="IMAGE=images:debian/13/cloud members/NAME/incus/launch (LXD: CLIENT=lxc); or"
        " incus launch IMAGE NAME --vm <instance.yaml, with the NIC's MAC address and, with"
        " --secrets split, keys.iso added. Virtual machines only: in a container every process"
        " reads the configuration. So does whoever reads the project's instances",
        source="https://linuxcontainers.org/incus/docs/main/cloud-init/",
        unverified="the client of Incus 6.0.4 takes the script's options and the YAML; no machine"
        " was launched by Incus or LXD",
        package=package,
    ),
)
