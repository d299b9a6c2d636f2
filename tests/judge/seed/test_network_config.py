"""imagegen.judge.seed.network_config: whether a network comes of it."""

from __future__ import annotations

import re

import pytest

from tests.judge.seed.seeds import (
    NETWORK,
    assert_error,
    assert_warning,
    inspect,
)


class TestNetworkConfig:
    @pytest.mark.parametrize(
        "content",
        [
            NETWORK,
            b"",
            b"network:\n" + re.sub(b"^", b"  ", NETWORK, flags=re.MULTILINE).rstrip(b" "),
            b"version: 2\nethernets: {eth0: {dhcp4: true}}\n",
            b"network: {version: '2', ethernets: {}}\n",
            b"network: {config: disabled}\n",
        ],
    )
    def test_sound(self, content: bytes) -> None:
        assert inspect(network_config=content).problems == ()

    @pytest.mark.parametrize(
        ("content", "what", "where"),
        [
            (b"ethernets: {}\n", "neither version 1 nor", ":1:1"),
            (b"network:\n  version: 3\n", "neither version 1 nor", ":2:12"),
            (b"network: eth0\n", "neither version 1 nor", ":1:10"),
            (b"version: 1\n", "list called config", ":1:1"),
            (b"version: 1\nconfig:\n- name: eth0\n", "no type", ":3:3"),
            (b"version: 1\nconfig:\n- type: wifi\n", "no type", ":3:9"),
            (b"version: 2\nethernets: [eth0]\n", "not a mapping", ":2:12"),
            (NETWORK.replace(b'"', b""), "MAC address reads as a number", ":5:16"),
            (
                b"version: 2\nethernets:\n  eth0:\n    match: {macaddress: 52:54:00:12:34:56}\n",
                "MAC address reads as a number",
                ":4:25",
            ),
            (b"a: b: c\n", "not valid YAML", ":1:5"),
        ],
    )
    def test_configures_nothing(self, content: bytes, what: str, where: str) -> None:
        assert_error(inspect(network_config=content), what, f"seed.iso/network-config{where}")

    @pytest.mark.parametrize(
        ("device", "what", "where"),
        [
            ("routes: [{to: default, via: 10.0.0.1}]", "route to default", ":4:19"),
            ("gateway4: 10.0.0.1", "deprecated gateway4", ":4:15"),
        ],
    )
    def test_depends_on_the_image(self, device: str, what: str, where: str) -> None:
        content = f"version: 2\nethernets:\n  eth0:\n    {device}\n".encode()
        assert_warning(inspect(network_config=content), what, f"seed.iso/network-config{where}")
