"""The members' networks."""

from __future__ import annotations

from ipaddress import ip_network

from imagegen.spec.checks.members import members_of
from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import NetworkPlan, Nic, Spec
from imagegen.spec.words import Network


def check_network(spec: Spec, reader: Reader) -> None:
    """The members' network and their other NICs."""
    for path, member in members_of(spec):
        for index, nic in enumerate(member.nics or ()):
            if nic is not None:
                _check_nic(nic, (*path, "nics", index), reader)
    plan = spec.network
    if plan is None:
        return
    if plan.dhcp:
        for key in ("prefix", "gateway"):
            if getattr(plan, key) is not None:
                reader.error(
                    ("network", key), f"{key} and dhcp exclude each other", "remove one of them"
                )
        return
    if plan.prefix is None:
        if ("network", "prefix") not in reader.seen:
            reader.error(
                ("network",),
                "neither prefix nor dhcp is given",
                "write `prefix: 24` for static addresses, or `dhcp: true`",
            )
        return
    lan = _lan(spec, plan, reader)
    for path, member in members_of(spec):
        if (
            not member.mac
            and not member.interface
            and not {(*path, "mac"), (*path, "interface")} & reader.seen.keys()
        ):
            reader.error(
                path,
                "a static network needs to know the network card",
                'give the member a `mac` (quoted, "52:54:00:12:34:56") or an `interface`',
            )
        if member.address is None or lan is None:
            continue
        if member.address.version != lan.version or member.address not in lan:
            reader.error(
                (*path, "address"),
                f"{member.address} is outside the network {lan}",
                "check network.prefix, network.gateway and the address",
            )
        elif (
            lan.num_addresses > 2
            and member.address in (lan.network_address, lan.broadcast_address)
            and (lan.version == 4 or member.address == lan.network_address)
        ):
            reader.error(
                (*path, "address"),
                f"{member.address} is the first or last address of {lan}, no host's",
                "choose an address between them",
            )
        if plan.gateway is not None and member.address == plan.gateway:
            reader.error(
                (*path, "address"),
                f"{member.address} is the gateway's",
                "give the member an address of its own",
            )
        for key in ("peer_address", "client_address"):
            own = getattr(member, key)
            further = [i.ip for nic in member.nics or () if nic for i in nic.addresses or () if i]
            dhcp = any(nic.dhcp for nic in member.nics or () if nic)
            if own is not None and own != member.address and own not in further and not dhcp:
                reader.error(
                    (*path, key),
                    f"{own} is on none of this member's NICs",
                    "list it in one of the member's `nics`",
                )
    for index, route in enumerate(plan.routes or ()):
        if route and lan and route.via and route.via not in lan:
            reader.error(
                ("network", "routes", index, "via"),
                f"{route.via} is outside {lan}, so no member can reach it",
                "a router must be on the members' network",
            )


def _lan(spec: Spec, plan: NetworkPlan, reader: Reader) -> Network | None:
    """The members' network, judged by the first member's address."""
    addresses = [member.address for _, member in members_of(spec) if member.address]
    if plan.prefix is None or not addresses:
        return None
    first = addresses[0]
    if plan.prefix > first.max_prefixlen:
        reader.error(
            ("network", "prefix"),
            f"{plan.prefix} is too long for {first}",
            f"at most {first.max_prefixlen}",
        )
        return None
    lan = ip_network(f"{first}/{plan.prefix}", strict=False)
    gateway = plan.gateway
    # An IPv6 router is often reached at its link-local address, on any link.
    if gateway and gateway not in lan and not (gateway.version == 6 and gateway.is_link_local):
        reader.error(
            ("network", "gateway"),
            f"{gateway} is outside the members' network {lan}",
            "a gateway must be on the link; check network.prefix",
        )
    return lan


def _check_nic(nic: Nic, path: Path, reader: Reader) -> None:
    if (
        not nic.mac
        and not nic.interface
        and not ({(*path, "mac"), (*path, "interface")} & reader.seen.keys())
    ):
        reader.error(path, "needs a `mac` or an `interface`", "say which network card it is")
    if not nic.addresses and not nic.dhcp and (*path, "addresses") not in reader.seen:
        reader.error(
            path,
            "has neither addresses nor dhcp",
            'write `addresses: ["10.1.0.11/24"]` or `dhcp: true`',
        )
    networks = [interface.network for interface in nic.addresses or () if interface]
    if nic.gateway and not nic.dhcp and not any(nic.gateway in lan for lan in networks):
        reader.error(
            (*path, "gateway"),
            f"{nic.gateway} is on none of this NIC's networks",
            "a gateway must be on the link",
        )
