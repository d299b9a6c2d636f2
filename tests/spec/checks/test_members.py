"""imagegen.spec.checks.members: each member is one of its own."""

from __future__ import annotations

import pytest

from imagegen.base.problems import Severity
from imagegen.spec.read import parse_spec
from tests.spec.specs import PLAIN, STATIC, Fault, assert_named

FAULTS = {
    "loopback": Fault(
        PLAIN.replace("10.0.0.2", "127.0.0.2"),
        ("members[1].address", "127.0.0.2 is a loopback address", "network of the members"),
        Severity.WARNING,
    ),
    "even count": Fault(
        PLAIN + "  - {name: e, address: 10.0.0.4}\n", ("4 members", "3 or 5"), Severity.WARNING
    ),
    "single member": Fault(
        "cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\n", ("no failure",), Severity.WARNING
    ),
    "duplicate name": Fault(
        PLAIN.replace("name: d", "name: a"), ("members[2].name", "already used by members[0]")
    ),
    "duplicate address": Fault(
        PLAIN.replace("10.0.0.3", "10.0.0.1"), ("members[2].address", "10.0.0.1", "members[0]")
    ),
    "duplicate peer address": Fault(
        PLAIN.replace("10.0.0.3}", "10.0.0.3, peer_address: 10.0.0.1}"),
        ("members[2].peer_address", "members[0]"),
    ),
    "duplicate mac": Fault(
        STATIC.replace("interface: ens3", 'mac: "52:54:00:00:00:01"'), ("already used",)
    ),
    "mac differing in case only": Fault(
        STATIC.replace("interface: ens3", 'mac: "52:54:00:AA:00:01"', 1).replace(
            "interface: ens3", 'mac: "52:54:00:aa:00:01"', 1
        ),
        ("members[1].mac", "already used"),
    ),
    "reserved client": Fault(PLAIN + "clients: [{name: ca}]\n", ("clients[0].name",)),
    "client twice": Fault(PLAIN + "clients: [{name: x}, {name: x}]\n", ("clients[1].name",)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "survives no failure"),
        (2, "2 members tolerate 0 failures, as many as 1 do"),
        (3, None),
        (4, "4 members tolerate 1 failures, as many as 3 do"),
        (5, None),
        (6, "6 members tolerate 2 failures, as many as 5 do"),
        (7, None),
        (8, "8 members tolerate 3 failures, as many as 7 do"),
        (9, "9 members slow every write"),
    ],
)
def test_how_many_members_are_warned_of(count, words):
    """Even numbers gain nothing, and more than seven cost more than they give."""
    members = "".join(f"  - {{name: m{n}, address: 10.0.0.{n}}}\n" for n in range(1, count + 1))
    _, warnings = parse_spec(f"cluster: c\nmembers:\n{members}", source="c.yaml")
    assert [words in warning.what for warning in warnings] == ([True] if words else [])
