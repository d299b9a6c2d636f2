"""network-config: version 1 for every renderer, version 2 for netplan.

Version 1 matched by MAC address is the portable form: cloud-init before 25.3
crashes on version 2's ``to: default`` wherever it does not hand the text to
netplan (canonical/cloud-init, "network config v2" in its change log for 25.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface
from typing import Any

from imagegen.spec.model import MemberPlan, NetworkPlan, Nic, Route
from imagegen.spec.words import Address, Interface


def network_config(plan: NetworkPlan | None, member: MemberPlan) -> dict[str, Any] | None:
    """One member's network-config; None where cloud-init shall fall back to DHCP."""
    if plan is None and not member.nics:
        return None
    version = plan.version if plan else 1
    nics = [first_nic(plan, member), *member.nics]
    dhcp = "dhcp6" if member.address.version == 6 else "dhcp4"
    dns = ([str(a) for a in plan.dns], list(plan.search)) if plan else ([], [])
    if version == 1:
        return {"version": 1, "config": _version_1(nics, dhcp, *dns)}
    return {"version": 2, **_version_2(nics, dhcp, *dns)}


def first_nic(plan: NetworkPlan | None, member: MemberPlan) -> Nic:
    """The member's first NIC as the network plan sets it up."""
    if plan is None or plan.dhcp or plan.prefix is None:
        addresses: tuple[Interface, ...] = ()
    else:
        addresses = (ip_interface(f"{member.address}/{plan.prefix}"),)
    return Nic(
        mac=member.mac,
        interface=member.interface,
        addresses=addresses,
        dhcp=not addresses,
        gateway=plan.gateway if plan else None,
        routes=plan.routes if plan else (),
        mtu=plan.mtu if plan else None,
        vlan=plan.vlan if plan else None,
    )


def addresses_by_nic(member: MemberPlan) -> list[list[Address]]:
    """What a platform must assign to each of the member's NICs, the first one's first.

    Empty for a NIC whose address the spec leaves to DHCP.
    """
    return [[member.address], *([address.ip for address in nic.addresses] for nic in member.nics)]


def nic_name(nic: Nic, index: int) -> str:
    """What the interface is called; a card known by MAC alone is given a name."""
    return nic.interface or f"eth{index}"


def _version_1(
    nics: Sequence[Nic], dhcp: str, dns: list[str], search: list[str]
) -> list[dict[str, Any]]:
    config: list[dict[str, Any]] = []
    for index, nic in enumerate(nics):
        name = nic_name(nic, index)
        subnets = _subnets(nic, dhcp)
        if index == 0 and subnets:
            subnets[0] |= {"dns_nameservers": dns} if dns else {}
            subnets[0] |= {"dns_search": search} if search else {}
        card: dict[str, Any] = {"type": "physical", "name": name}
        if nic.mac:
            card["mac_address"] = nic.mac
        if nic.mtu:
            card["mtu"] = nic.mtu
        if nic.vlan is None:
            config.append(card | {"subnets": subnets})
            continue
        vlan = {
            "type": "vlan",
            "name": f"{name}.{nic.vlan}",
            "vlan_link": name,
            "vlan_id": nic.vlan,
            "subnets": subnets,
        }
        config += [card, vlan | ({"mtu": nic.mtu} if nic.mtu else {})]
    return config


def _subnets(nic: Nic, dhcp: str) -> list[dict[str, Any]]:
    if nic.dhcp:
        return [{"type": dhcp}]
    subnets: list[dict[str, Any]] = []
    for address in nic.addresses:
        subnet: dict[str, Any] = {
            "type": "static6" if address.version == 6 else "static",
            "address": str(address),
        }
        # Gateway and routes stand once, at the first address of their family.
        if address.version not in {other.version for other in nic.addresses[: len(subnets)]}:
            if nic.gateway and nic.gateway.version == address.version:
                subnet["gateway"] = str(nic.gateway)
            routes = [route for route in nic.routes if route.via.version == address.version]
            if routes:
                subnet["routes"] = [_route_1(route) for route in routes]
        subnets.append(subnet)
    return subnets


def _route_1(route: Route) -> dict[str, Any]:
    entry: dict[str, Any] = {"destination": str(route.to), "gateway": str(route.via)}
    if route.metric is not None:
        entry["metric"] = route.metric
    return entry


def _version_2(nics: Sequence[Nic], dhcp: str, dns: list[str], search: list[str]) -> dict[str, Any]:
    ethernets: dict[str, Any] = {}
    vlans: dict[str, Any] = {}
    for index, nic in enumerate(nics):
        name = nic_name(nic, index)
        card: dict[str, Any] = {}
        if nic.mac:
            card = {"match": {"macaddress": nic.mac}, "set-name": name}
        if nic.mtu:
            card["mtu"] = nic.mtu
        settings: dict[str, Any] = {dhcp: True} if nic.dhcp else {}
        if nic.addresses:
            settings["addresses"] = [str(address) for address in nic.addresses]
        routes = [_route_2(route) for route in nic.routes]
        if nic.gateway:
            routes.insert(0, {"to": _everywhere(nic.gateway), "via": str(nic.gateway)})
        if routes:
            settings["routes"] = routes
        if index == 0 and (dns or search):
            servers = {"addresses": dns, "search": search}
            settings["nameservers"] = {key: value for key, value in servers.items() if value}
        if nic.vlan is None:
            ethernets[name] = card | settings
        else:
            ethernets[name] = card
            vlans[f"{name}.{nic.vlan}"] = {"id": nic.vlan, "link": name, **settings}
    return {"ethernets": ethernets} | ({"vlans": vlans} if vlans else {})


def _everywhere(gateway: Address) -> str:
    return "::/0" if gateway.version == 6 else "0.0.0.0/0"


def _route_2(route: Route) -> dict[str, Any]:
    entry: dict[str, Any] = {"to": str(route.to), "via": str(route.via)}
    if route.metric is not None:
        entry["metric"] = route.metric
    return entry
