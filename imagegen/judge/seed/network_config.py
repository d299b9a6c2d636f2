"""network-config of version 1 and 2: whether cloud-init would configure a network by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagegen.judge.seed.findings import Findings
from imagegen.judge.seed.limited_yaml import YamlDocument, items

_NETWORK_TYPES = (
    "physical", "loopback", "bond", "bridge", "infiniband", "vlan", "nameserver", "route",
)  # fmt: skip
_Path = tuple[str | int, ...]


def check_network_config(document: YamlDocument, found: Findings) -> None:
    """Note why cloud-init would configure no network, or only on some images."""
    path: _Path = ("network",) if "network" in document.value else ()
    config = document.value.get("network", document.value)
    if not document.value or config == {"config": "disabled"}:
        return
    version = str(config.get("version")) if isinstance(config, dict) else ""
    if version == "1":
        _check_network_v1(document, (*path, "config"), config.get("config"), found)
    elif version == "2":
        _check_network_v2(document, path, config, found)
    else:
        found.error(
            "network-config",
            "neither version 1 nor version 2: cloud-init configures no network",
            "say version: 1 or version: 2, at the top or below network:",
            document.mark(*path, "version"),
        )


def _check_network_v1(document: YamlDocument, path: _Path, devices: Any, found: Findings) -> None:
    if not isinstance(devices, list):
        found.error(
            "network-config",
            "version 1 without a list called config: cloud-init configures no network",
            "list the devices below config:",
            document.mark(*path),
        )
        return
    for index, device in enumerate(devices):
        if not isinstance(device, dict) or device.get("type") not in _NETWORK_TYPES:
            found.error(
                "network-config",
                f"config[{index}] is of no type cloud-init knows: it configures no network",
                f"give it a type: {', '.join(_NETWORK_TYPES)}",
                document.mark(*path, index, "type"),
            )
        else:
            mac_path = (*path, index, "mac_address")
            _check_mac(document, mac_path, device.get("mac_address"), found)


def _check_network_v2(
    document: YamlDocument, path: _Path, config: Mapping[Any, Any], found: Findings
) -> None:
    for kind in ("ethernets", "bonds", "bridges", "vlans"):
        devices = config.get(kind, {})
        if not isinstance(devices, dict):
            found.error(
                "network-config",
                f"{kind} is not a mapping: cloud-init configures no network",
                f"below {kind}:, give each device a name and a colon",
                document.mark(*path, kind),
            )
            continue
        for name, device in devices.items():
            if isinstance(device, dict):
                _check_v2_device(document, (*path, kind, name), device, found)


def _check_v2_device(
    document: YamlDocument, path: _Path, device: Mapping[Any, Any], found: Findings
) -> None:
    match = device.get("match")
    if isinstance(match, dict):
        _check_mac(document, (*path, "match", "macaddress"), match.get("macaddress"), found)
    for key in ("gateway4", "gateway6"):
        if key in device:
            found.warn(
                "network-config",
                f"netplan has deprecated {key}",
                "use a route, or network-config version 1",
                document.mark(*path, key),
            )
    for index, route in enumerate(items(device.get("routes"))):
        if isinstance(route, dict) and route.get("to") == "default":
            found.warn(
                "network-config",
                "a route to default: before cloud-init 25.3, images without netplan "
                "come up without any network",
                "use network-config version 1",
                document.mark(*path, "routes", index, "to"),
            )


def _check_mac(document: YamlDocument, path: _Path, mac: Any, found: Findings) -> None:
    if mac is not None and not isinstance(mac, str):
        found.error(
            "network-config",
            "the MAC address reads as a number, which no device has",
            'quote it, "52:54:00:12:34:56"; YAML reads bare digits and colons as base 60',
            document.mark(*path),
        )
