"""imagegen.spec.words: what is not an address, a name or a time is said to be none."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, STATIC, Fault, assert_named, problems_of

FAULTS = {
    "unquoted mac": Fault(
        STATIC.replace("interface: ens3}", "mac: 52:54:00:12:34:56}", 1),
        ("the number 41135085296", '"52:54:00:12:34:56"', "base 60"),
    ),
    "control characters": Fault(
        PLAIN + 'ssh_authorized_keys: ["ssh-ed25519 AAAA \\e[2Jme"]\n',
        ("ssh_authorized_keys[0]", "not an SSH public key"),
    ),
    "multicast mac": Fault(
        STATIC.replace("interface: ens3", 'mac: "53:54:00:00:00:01"', 1), ("multicast",)
    ),
    "name with underscore": Fault(PLAIN.replace("name: d", "name: d_1"), ("not a host name",)),
    "name in capitals": Fault(PLAIN.replace("name: d", "name: D"), ("not a host name",)),
    "name with path": Fault(PLAIN.replace("name: d", "name: ../d"), ("not a host name",)),
    "dots in a path": Fault(PLAIN + "etcd: {data_directory: /var/../etc}\n", ("'..'",)),
    "host bits in a route": Fault(
        STATIC.replace(
            "gateway: 10.0.0.1}", "gateway: 10.0.0.1, routes: [{to: 10.9.0.1/16, via: 10.0.0.1}]}"
        ),
        ("network.routes[0].to", "host bits"),
    ),
    "time without offset": Fault(
        PLAIN + 'bootstrap_until: "2027-01-01T00:00:00"\n', ("bootstrap_until", "offset")
    ),
    "unquoted time": Fault(
        PLAIN + "bootstrap_until: 2027-01-01T00:00:00Z\n", ("bootstrap_until", "quote it")
    ),
    "a digest cut short": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33", sha256: {amd64: abc}}}\n',
        ("sha256.amd64", "64 hexadecimal digits"),
    ),
    "etcd that corrupts data": Fault(
        PLAIN + 'etcd: {version: "3.5.1"}\n', ("etcd.version", "corrupt")
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_utc_has_no_year_for_is_an_error(time):
    """It is a time where it was written, but not here."""
    found = problems_of(PLAIN + f'bootstrap_until: "{time}"\n')
    assert any("bootstrap_until" in problem for problem in found)
