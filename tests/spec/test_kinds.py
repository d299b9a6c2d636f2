"""imagegen.spec.kinds: what YAML makes of a setting is said, with what to write."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, STATIC, Fault, assert_named, problems_of

FAULTS = {
    "unknown key": Fault(PLAIN + "distributoin: debian-12\n", ("did you mean distribution",)),
    "unknown key in a member": Fault(
        PLAIN.replace("address: 10.0.0.3", "adress: 10.0.0.3"),
        ("members[2].adress: unknown setting", "did you mean address"),
    ),
    "duplicate key": Fault(PLAIN + "cluster: d\n", ("c.yaml:6:1", "stands twice", "line 1")),
    "missing key": Fault("cluster: c\n", ("members is missing",)),
    "number for text": Fault(
        PLAIN + "etcd: {version: 3.5}\n", ("etcd.version", "the number 3.5", '"3.5"')
    ),
    "octal": Fault(
        PLAIN.replace("address: 10.0.0.1}", "address: 10.0.0.1, generation: 010}"),
        ("members[0].generation", "010", "the number 8", "octal"),
    ),
    "yes": Fault(PLAIN + "network: {dhcp: yes}\n", ("network.dhcp", "YAML 1.2", "write true")),
    "quoted number": Fault(
        STATIC.replace("prefix: 24", 'prefix: "24"'), ("network.prefix", "without quotes")
    ),
    "gigantic number": Fault(
        STATIC.replace("prefix: 24", "prefix: " + "9" * 5000), ("network.prefix",)
    ),
    "out of bounds": Fault(
        PLAIN + "etcd: {client_port: 70000}\n", ("etcd.client_port", "70000", "65535")
    ),
    "boolean for text": Fault(
        PLAIN.replace("name: b", "name: on"), ("members[1].name", "the boolean true", '"on"')
    ),
    "list for text": Fault(PLAIN.replace("cluster: c", "cluster: [c]"), ("cluster", "a list")),
    "text for list": Fault("cluster: c\nmembers: a\n", ("members", "expected a list")),
    "scalar document": Fault("hello\n", ("mapping",)),
    "date in extra_user_data": Fault(
        PLAIN + "extra_user_data: {fqdn_since: 2026-01-01}\n", ("date 2026-01-01", "quote it")
    ),
    "base 60 in extra_user_data": Fault(
        PLAIN + "extra_user_data: {mac: 52:54:00}\n", ("extra_user_data.mac", "quote it")
    ),
    "key twice in extra_user_data": Fault(
        PLAIN + "extra_user_data: {ntp: {enabled: true, enabled: false}}\n", ("twice",)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


@pytest.mark.parametrize(
    "scalar", ["!!int ''", "!!int x", "!!float ''", "!!bool x", "!!timestamp x"]
)
def test_a_tag_that_does_not_fit_its_text_is_an_error(scalar):
    """PyYAML raises IndexError, KeyError and AttributeError for them."""
    assert any("token" in problem for problem in problems_of(PLAIN + f"token: {scalar}\n"))
    found = problems_of(PLAIN + f"extra_user_data: {{timezone: {scalar}}}\n")
    assert any("extra_user_data.timezone" in problem for problem in found)


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 5000, str(2**64), ".nan", "-.inf"])
def test_a_number_that_others_cannot_read_is_an_error(number):
    """Python itself refuses to print the first two, and JSON has no word for the last two."""
    found = problems_of(PLAIN + f"extra_user_data: {{power_state: {{timeout: {number}}}}}\n")
    assert any("extra_user_data.power_state.timeout" in problem for problem in found)
