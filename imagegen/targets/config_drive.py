"""An OpenStack config drive for each member, for platforms that take no NoCloud seed.

cloud-init reads ``openstack/latest`` on a disk labelled config-2 (its
DataSourceConfigDrive; docs.cloud-init.io, reference/datasources/configdrive).
The network is told in OpenStack's form (nova, doc/api_schemas/network_data.json).
Where that has no word, or one of which cloud-init makes less than it could,
stands one of cloud-init's, which 22.4 and 25.1 read alike and others pass over:

* ``name`` of a link: what the card is called, and which card it is where the
  spec gives no MAC address;
* ``gateway`` of a network, not a route to 0.0.0.0: of that, cloud-init makes
  a call of ``route`` for ifupdown, which today's images do not have;
* ``dns_nameservers`` and ``dns_search`` of a network: cloud-init 22.4 knows no
  ``services`` but those of the whole machine, and gives them to the wrong card;
* ``metric`` of a route.

One thing cannot be said: with a static IPv6 address cloud-init refuses router
advertisements, so an IPv6 network without a gateway in the spec has no default
route here.
"""

from __future__ import annotations

import json
from typing import Any

from imagegen.documents.netconfig import first_nic, nic_name
from imagegen.documents.render import NodeDocuments
from imagegen.media.iso_writer import build_image
from imagegen.spec.model import MemberPlan, NetworkPlan, Nic, Route
from imagegen.targets.payload import Options, Payload, Target

LABEL = "config-2"


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The config drive, read back and compared before it is returned."""
    member = documents.member
    meta_data = {"uuid": member.instance_id, "hostname": member.name, "name": member.name}
    files = {
        "meta_data.json": _json(meta_data),
        "user_data": documents.user_data.encode(),
        "vendor_data.json": _json({}),
    }
    network = network_data(documents.cluster.spec.network, member.plan)
    if network:
        files["network_data.json"] = _json(network)
    image = build_image(
        {f"openstack/latest/{name}": data for name, data in files.items()},
        when=documents.cluster.identity.created,
        label=LABEL,
    )
    return Payload(files={f"{documents.folder}/config-drive/config-drive.iso": image})


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def network_data(plan: NetworkPlan | None, member: MemberPlan) -> dict[str, Any] | None:
    """One member's network_data.json; None where cloud-init shall fall back to DHCP."""
    if plan is None and not member.nics:
        return None
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    for index, nic in enumerate([first_nic(plan, member), *member.nics]):
        links += _links(nic, nic_name(nic, index))
        networks += _networks(nic, links[-1]["id"], member.address.version)
        if plan and index == 0 and networks:
            networks[0] |= _names(plan)
    for index, network in enumerate(networks):
        network["id"] = f"network{index}"
    return {"links": links, "networks": networks, "services": []}


def _names(plan: NetworkPlan) -> dict[str, Any]:
    servers = [str(server) for server in plan.dns]
    names = {
        "services": [{"type": "dns", "address": server} for server in servers],
        "dns_nameservers": servers,
        "dns_search": list(plan.search),
    }
    return {key: value for key, value in names.items() if value}


def _links(nic: Nic, name: str) -> list[dict[str, Any]]:
    mtu = {"mtu": nic.mtu} if nic.mtu else {}
    card = {"id": name, "name": name, "type": "phy", "ethernet_mac_address": nic.mac} | mtu
    if nic.vlan is None:
        return [card]
    vlan = {
        "id": f"{name}.{nic.vlan}",
        "type": "vlan",
        "vlan_link": name,
        "vlan_id": nic.vlan,
        "vlan_mac_address": nic.mac,
    }
    return [card, vlan | mtu]


def _networks(nic: Nic, link: str, dhcp: int) -> list[dict[str, Any]]:
    common = {"link": link, "network_id": link}
    if nic.dhcp:
        return [common | {"type": f"ipv{dhcp}_dhcp"}]
    networks: list[dict[str, Any]] = []
    for address in nic.addresses:
        network: dict[str, Any] = common | {
            "type": f"ipv{address.version}",
            "ip_address": str(address.ip),
            "netmask": str(address.netmask),
        }
        # Gateway and routes stand once, at the first address of their family.
        if address.version not in {other.version for other in nic.addresses[: len(networks)]}:
            if nic.gateway and nic.gateway.version == address.version:
                network["gateway"] = str(nic.gateway)
            routes = [_route(route) for route in nic.routes if route.via.version == address.version]
            if routes:
                network["routes"] = routes
        networks.append(network)
    return networks


def _route(route: Route) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "network": str(route.to.network_address),
        "netmask": str(route.to.netmask),
        "gateway": str(route.via),
    }
    return entry | ({} if route.metric is None else {"metric": route.metric})


TARGETS = (
    Target(
        name="config-drive",
        makes="members/NAME/config-drive/config-drive.iso, a disk image labelled config-2",
        encoding="ISO 9660",
        attach="attach each member's config-drive/config-drive.iso to its machine, as CD or as"
        " read-only disk",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/configdrive.html",
        package=package,
        unverified="read by cloud-init's own code; no machine was booted from one",
    ),
)
