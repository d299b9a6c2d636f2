"""The members' networks: one that they share, and the others of each."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from imagegen.spec.draft import Draft, Path, PathProblem
from imagegen.spec.model import MemberPlan, NetworkPlan, Nic
from imagegen.spec.words import Network


def nic_problems(draft: Draft) -> Iterator[PathProblem]:
    """Each other NIC is known by its card, and can have an address."""
    for path, nic in draft.each(Nic, "members", int, "nics", int):
        if not nic.mac and not nic.interface:
            yield PathProblem(
                path, "needs a `mac` or an `interface`", "say which network card it is"
            )
        if not nic.addresses and not nic.dhcp:
            yield PathProblem(
                path,
                "has neither addresses nor dhcp",
                'write `addresses: ["10.1.0.11/24"]` or `dhcp: true`',
            )
        networks = [interface.network for interface in nic.addresses]
        if nic.gateway and not nic.dhcp and not any(nic.gateway in lan for lan in networks):
            yield PathProblem(
                (*path, "gateway"),
                f"{nic.gateway} is on none of this NIC's networks",
                "a gateway must be on the link",
            )


def network_problems(draft: Draft) -> Iterator[PathProblem]:
    """The members' own network is static or by DHCP, and holds all that belongs to it."""
    plan = draft.get(NetworkPlan, "network")
    if plan is None:
        return
    if plan.dhcp:
        yield from _dhcp_problems(plan)
    elif plan.prefix is None:
        yield PathProblem(
            ("network",),
            "neither prefix nor dhcp is given",
            "write `prefix: 24` for static addresses, or `dhcp: true`",
        )
    else:
        yield from _static_problems(draft, plan, plan.prefix)


def _dhcp_problems(plan: NetworkPlan) -> Iterator[PathProblem]:
    for key in ("prefix", "gateway"):
        if getattr(plan, key) is not None:
            what = f"{key} and dhcp exclude each other"
            yield PathProblem(("network", key), what, "remove one of them")


def _static_problems(draft: Draft, plan: NetworkPlan, prefix: int) -> Iterator[PathProblem]:
    members = list(draft.each(MemberPlan, "members", int))
    for path, member in members:
        if not member.mac and not member.interface:
            yield PathProblem(
                path,
                "a static network needs to know the network card",
                'give the member a `mac` (quoted, "52:54:00:12:34:56") or an `interface`',
            )
        yield from _placement_problems(path, member, plan)
    if not members:
        return
    first = members[0][1].address
    if prefix > first.max_prefixlen:
        yield PathProblem(
            ("network", "prefix"),
            f"{prefix} is too long for {first}",
            f"at most {first.max_prefixlen}",
        )
        return
    # The members' network, judged by the first member's address.
    lan = ip_network(f"{first}/{prefix}", strict=False)
    for path, member in members:
        yield from _address_problems(path, member, lan)
    yield from _router_problems(plan, lan)


def _placement_problems(path: Path, member: MemberPlan, plan: NetworkPlan) -> Iterator[PathProblem]:
    """A member's addresses are its own, and on its NICs."""
    if member.address == plan.gateway:
        yield PathProblem(
            (*path, "address"),
            f"{member.address} is the gateway's",
            "give the member an address of its own",
        )
    own = {member.address, *(i.ip for nic in member.nics for i in nic.addresses)}
    leased = any(nic.dhcp for nic in member.nics)
    for key in ("peer_address", "client_address"):
        address = getattr(member, key)
        if address is not None and address not in own and not leased:
            yield PathProblem(
                (*path, key),
                f"{address} is on none of this member's NICs",
                "list it in one of the member's `nics`",
            )


def _address_problems(path: Path, member: MemberPlan, lan: Network) -> Iterator[PathProblem]:
    """A member's address is one that a host of the network can have."""
    address = member.address
    if address not in lan:
        yield PathProblem(
            (*path, "address"),
            f"{address} is outside the network {lan}",
            "check network.prefix, network.gateway and the address",
        )
        return
    # IPv6 has no broadcast address, and networks of two have neither.
    ends = {lan.network_address, lan.broadcast_address if lan.version == 4 else None}
    if lan.num_addresses > 2 and address in ends:
        yield PathProblem(
            (*path, "address"),
            f"{address} is the first or last address of {lan}, which no host can have",
            "choose an address between them",
        )


def _router_problems(plan: NetworkPlan, lan: Network) -> Iterator[PathProblem]:
    """The routers of a network are on it."""
    gateway = plan.gateway
    # An IPv6 router is often reached at its link-local address, on any link.
    if gateway and gateway not in lan and not (gateway.version == 6 and gateway.is_link_local):
        yield PathProblem(
            ("network", "gateway"),
            f"{gateway} is outside the members' network {lan}",
            "a gateway must be on the link; check network.prefix",
        )
    for index, route in enumerate(plan.routes):
        if route.via not in lan:
            yield PathProblem(
                ("network", "routes", index, "via"),
                f"{route.via} is outside {lan}, so no member can reach it",
                "a router must be on the members' network",
            )
