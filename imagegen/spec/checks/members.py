"""Members, clients and users: how many, and that each is one of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv6Interface

from imagegen.base.problems import Severity
from imagegen.spec.draft import Draft, Path, PathProblem
from imagegen.spec.model import MemberPlan

#: client/ca.pem and client/client.pem are every cluster's.
RESERVED_CLIENTS = frozenset({"ca", "client"})


def size_problems(draft: Draft) -> Iterator[PathProblem]:
    """How many failures that number of members survives."""
    count = draft.count("members", int)
    if count == 1:
        what, hint = "one member survives no failure", "use 3 or 5 members"
    elif count and count % 2 == 0:
        what = f"{count} members tolerate {(count - 1) // 2} failures, as many as {count - 1} do"
        hint = f"use {count - 1} or {count + 1} members"
    elif count > 7:
        what, hint = f"{count} members slow every write", "etcd advises at most 7"
    else:
        return
    yield PathProblem(("members",), what, hint, Severity.WARNING)


def repetition_problems(draft: Draft) -> Iterator[PathProblem]:
    """A name, an address or a card is one member's; clients and users are listed once."""
    yield from _repeated(draft.each(str, "members", int, "name"), "give each member its own name")
    yield from _repeated(_addresses(draft), "give each member its own address")
    cards = [
        *draft.each(str, "members", int, "mac"),
        *draft.each(str, "members", int, "nics", int, "mac"),
    ]
    yield from _repeated(cards, "MAC addresses are unique in a network", within_member=True)
    yield from _repeated(draft.each(str, "clients", int, "name"), "give each client its own name")
    yield from _repeated(draft.each(str, "users", int, "name"), "list each user once")


def _addresses(draft: Draft) -> Iterator[tuple[Path, object]]:
    for key in ("address", "peer_address", "client_address"):
        yield from draft.each(object, "members", int, key)
    for path, v4 in draft.each(IPv4Interface, "members", int, "nics", int, "addresses", int):
        yield path, v4.ip
    for path, v6 in draft.each(IPv6Interface, "members", int, "nics", int, "addresses", int):
        yield path, v6.ip


def _repeated(
    found: Iterable[tuple[Path, object]], hint: str, *, within_member: bool = False
) -> Iterator[PathProblem]:
    """Values that an earlier item has; within one member, only where that is a problem too."""
    seen: dict[object, Path] = {}
    for path, value in sorted(found, key=lambda each: each[0][1]):
        if value is None:
            continue
        first = seen.setdefault(value, path)
        if first[:2] != path[:2] or (within_member and first != path):
            yield PathProblem(path, f"{value} is already used by {first[0]}[{first[1]}]", hint)


def client_problems(draft: Draft) -> Iterator[PathProblem]:
    """No client's files have the names of others."""
    for path, name in draft.each(str, "clients", int, "name"):
        if name in RESERVED_CLIENTS:
            what, hint = f"{name} is the name of a file that is always made", "choose another name"
            yield PathProblem(path, what, hint)
        elif name.endswith("-key"):
            what = f"{name}.pem is where another client's private key would be"
            yield PathProblem(path, what, "choose a name that does not end in -key")


def loopback_problems(draft: Draft) -> Iterator[PathProblem]:
    """Of several members, each is on a machine of its own."""
    if draft.count("members", int) < 2:
        return
    for path, member in draft.each(MemberPlan, "members", int):
        for key in ("address", "peer_address", "client_address"):
            address = getattr(member, key)
            if address is not None and address.is_loopback:
                yield PathProblem(
                    (*path, key),
                    f"{address} is a loopback address: no other machine reaches it",
                    "its address in the network of the members",
                    Severity.WARNING,
                )
