"""Members, clients and users are each one of their own."""

from __future__ import annotations

from collections.abc import Iterator

from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import MemberPlan, Spec


def members_of(spec: Spec) -> Iterator[tuple[Path, MemberPlan]]:
    """The members that could be read, each with its path."""
    for index, member in enumerate(spec.members or ()):
        if member is not None:
            yield ("members", index), member


def check_size(spec: Spec, reader: Reader) -> None:
    """How many failures that number of members survives."""
    count = len(spec.members or ())
    path: Path = ("members",)
    if count == 1:
        reader.warning(path, "one member survives no failure", "use 3 or 5 members")
    elif count and count % 2 == 0:
        reader.warning(
            path,
            f"{count} members tolerate {(count - 1) // 2} failures, as many as {count - 1} do",
            f"use {count - 1} or {count + 1} members",
        )
    elif count > 7:
        reader.warning(path, f"{count} members slow every write", "etcd advises at most 7")


def check_unique(spec: Spec, reader: Reader) -> None:
    """Names and addresses belong to one member each."""
    seen: dict[tuple[str, object], Path] = {}

    def once(kind: str, value: object, path: Path, hint: str) -> None:
        if value is None:
            return
        first = seen.setdefault((kind, value), path)
        # A member may use its own address in several of its settings.
        if first[:2] != path[:2] or (kind == "MAC" and first != path):
            owner = f"{first[0]}[{first[1]}]"
            reader.error(path, f"{value} is already used by {owner}", hint)

    for path, member in members_of(spec):
        once("name", member.name, (*path, "name"), "give each member its own name")
        for key in ("address", "peer_address", "client_address"):
            once("address", getattr(member, key), (*path, key), "give each member its own address")
        once("MAC", member.mac, (*path, "mac"), "MAC addresses are unique in a network")
        for index, nic in enumerate(member.nics or ()):
            if nic is None:
                continue
            nic_path = (*path, "nics", index)
            once("MAC", nic.mac, (*nic_path, "mac"), "MAC addresses are unique in a network")
            for number, interface in enumerate(nic.addresses or ()):
                once(
                    "address",
                    interface and interface.ip,
                    (*nic_path, "addresses", number),
                    "give each machine its own address",
                )
    for index, client in enumerate(spec.clients or ()):
        if client is None:
            continue
        client_path: Path = ("clients", index)
        once("client", client.name, (*client_path, "name"), "give each client its own name")
        if client.name in RESERVED_CLIENTS:
            reader.error(
                (*client_path, "name"),
                f"{client.name} is the name of a file that is always made",
                "choose another name",
            )
        elif client.name and client.name.endswith("-key"):
            reader.error(
                (*client_path, "name"),
                f"{client.name}.pem is where another client's private key would be",
                "choose a name that does not end in -key",
            )
    for index, user in enumerate(spec.users or ()):
        if user is not None:
            once("user", user.name, ("users", index, "name"), "list each user once")


def check_reachable(spec: Spec, reader: Reader) -> None:
    """Of several members, each is on a machine of its own."""
    for path, member in members_of(spec) if len(spec.members or ()) > 1 else ():
        for key in ("address", "peer_address", "client_address"):
            address = getattr(member, key)
            if address is not None and address.is_loopback:
                reader.warning(
                    (*path, key),
                    f"{address} is a loopback address: no other machine reaches it",
                    "its address in the network of the members",
                )


#: client/ca.pem and client/client.pem are every cluster's.
RESERVED_CLIENTS = frozenset({"ca", "client"})
