"""imagegen.spec.checks.network: members, routers and routes are on their networks."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, STATIC, Fault, assert_named, problems_of

FAULTS = {
    "address outside": Fault(
        STATIC.replace("10.0.0.13", "10.0.1.13"), ("members[2].address", "outside", "10.0.0.0/24")
    ),
    "network address": Fault(STATIC.replace("10.0.0.13", "10.0.0.0"), ("which no host can have",)),
    "gateway's address": Fault(STATIC.replace("10.0.0.13", "10.0.0.1"), ("is the gateway's",)),
    "gateway off link": Fault(
        STATIC.replace("gateway: 10.0.0.1", "gateway: 10.9.0.1"),
        ("network.gateway", "10.9.0.1", "10.0.0.0/24"),
    ),
    "static without card": Fault(
        STATIC.replace(", interface: ens3", "", 1), ("members[0]", "`mac`", "`interface`")
    ),
    "neither static nor dhcp": Fault(PLAIN + "network: {mtu: 1400}\n", ("prefix", "dhcp")),
    "a prefix that is empty": Fault(
        PLAIN + "network: {prefix: }\n", ("network: neither prefix nor dhcp is given",)
    ),
    "dhcp with prefix": Fault(
        PLAIN + "network: {dhcp: true, prefix: 24}\n", ("network.prefix", "exclude")
    ),
    "route off link": Fault(
        STATIC.replace(
            "gateway: 10.0.0.1}", "gateway: 10.0.0.1, routes: [{to: 10.9.0.0/16, via: 10.8.0.1}]}"
        ),
        ("network.routes[0].via", "10.8.0.1"),
    ),
    "peer address nowhere": Fault(
        STATIC.replace("10.0.0.13,", "10.0.0.13, peer_address: 10.5.0.1,"),
        ("members[2].peer_address", "NIC"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


def test_a_network_with_an_unknown_setting_is_not_judged():
    """What it lacks may be what was misspelled."""
    found = problems_of(PLAIN + "network: {prefx: 24}\n")
    assert len(found) == 1
    assert "did you mean prefix?" in found[0]
