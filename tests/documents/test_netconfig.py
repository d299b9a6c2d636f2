"""imagegen.documents.netconfig: one plan, two versions of network-config."""

from __future__ import annotations

import pytest

from imagegen.documents.netconfig import network_config
from tests.conftest import EXAMPLES, make_cluster

BOTH = """\
cluster: c
members:
  - name: a
    address: 10.0.0.11
    mac: "52:54:00:AA:00:01"
    nics:
      - {interface: ens4, addresses: [10.1.0.11/24, "2001:db8:1::11/64"], gateway: "2001:db8:1::1"}
  - {name: b, address: 10.0.0.12, interface: ens3}
  - {name: d, address: 10.0.0.13, interface: ens3, mac: "52:54:00:aa:00:03"}
network:
  prefix: 24
  gateway: 10.0.0.1
  dns: [10.0.0.53]
  search: [example.org]
  routes: [{to: 10.9.0.0/16, via: 10.0.0.254, metric: 9}]
  mtu: 1400
"""


def config_of(text: str, index: int = 0):
    spec = make_cluster(text).spec
    return network_config(spec.network, spec.members[index])


def test_nothing_said_means_dhcp_by_cloud_init():
    """No plan, no document: the fallback is cloud-init's own."""
    assert config_of((EXAMPLES / "smallest.yaml").read_text()) is None


def test_version_1_by_mac():
    """The portable form: matched by lower-case MAC, one static subnet."""
    card, second = config_of(BOTH)["config"]
    assert card == {
        "type": "physical",
        "name": "eth0",
        "mac_address": "52:54:00:aa:00:01",
        "mtu": 1400,
        "subnets": [
            {
                "type": "static",
                "address": "10.0.0.11/24",
                "gateway": "10.0.0.1",
                "routes": [{"destination": "10.9.0.0/16", "gateway": "10.0.0.254", "metric": 9}],
                "dns_nameservers": ["10.0.0.53"],
                "dns_search": ["example.org"],
            }
        ],
    }
    assert second["name"] == "ens4"
    assert second["subnets"] == [
        {"type": "static", "address": "10.1.0.11/24"},
        {"type": "static6", "address": "2001:db8:1::11/64", "gateway": "2001:db8:1::1"},
    ]


def test_interface_without_mac_and_both():
    """A name alone matches; with a MAC it is what the card is called."""
    assert config_of(BOTH, 1)["config"][0]["name"] == "ens3"
    both = config_of(BOTH, 2)["config"][0]
    assert (both["name"], both["mac_address"]) == ("ens3", "52:54:00:aa:00:03")


def test_version_2():
    """For netplan: match, set-name, and a default route without `to: default`."""
    text = BOTH + "  version: 2\n"
    assert config_of(text)["ethernets"] == {
        "eth0": {
            "match": {"macaddress": "52:54:00:aa:00:01"},
            "set-name": "eth0",
            "mtu": 1400,
            "addresses": ["10.0.0.11/24"],
            "routes": [
                {"to": "0.0.0.0/0", "via": "10.0.0.1"},
                {"to": "10.9.0.0/16", "via": "10.0.0.254", "metric": 9},
            ],
            "nameservers": {"addresses": ["10.0.0.53"], "search": ["example.org"]},
        },
        "ens4": {
            "addresses": ["10.1.0.11/24", "2001:db8:1::11/64"],
            "routes": [{"to": "::/0", "via": "2001:db8:1::1"}],
        },
    }


@pytest.mark.parametrize("version", [1, 2])
def test_vlan_carries_the_address(version):
    """The card itself has none; the VLAN on it has everything."""
    text = BOTH + f"  vlan: 12\n  version: {version}\n"
    config = config_of(text)
    if version == 1:
        card, vlan = config["config"][:2]
        assert "subnets" not in card
        assert (vlan["name"], vlan["vlan_link"], vlan["vlan_id"]) == ("eth0.12", "eth0", 12)
        assert vlan["subnets"][0]["address"] == "10.0.0.11/24"
    else:
        assert "addresses" not in config["ethernets"]["eth0"]
        vlan = config["vlans"]["eth0.12"]
        assert (vlan["id"], vlan["link"]) == (12, "eth0")
        assert vlan["addresses"] == ["10.0.0.11/24"]


DHCP = """\
cluster: c
members: [{{name: a, address: {a}}}, {{name: b, address: {b}}}, {{name: d, address: {d}}}]
network: {{dhcp: true, version: {version}}}
"""


@pytest.mark.parametrize(
    ("addresses", "version", "meant"),
    [
        (("10.0.0.1", "10.0.0.2", "10.0.0.3"), 1, "dhcp4"),
        (("'fd00::1'", "'fd00::2'", "'fd00::3'"), 1, "dhcp6"),
        (("10.0.0.1", "10.0.0.2", "10.0.0.3"), 2, "dhcp4"),
        (("'fd00::1'", "'fd00::2'", "'fd00::3'"), 2, "dhcp6"),
    ],
)
def test_dhcp_of_the_addresses_family(addresses, version, meant):
    """An IPv6 member asks for an IPv6 lease."""
    a, b, d = addresses
    config = config_of(DHCP.format(a=a, b=b, d=d, version=version))
    if version == 1:
        assert config["config"][0]["subnets"] == [{"type": meant}]
    else:
        assert config["ethernets"]["eth0"] == {meant: True}
