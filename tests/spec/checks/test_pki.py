"""imagegen.spec.checks.pki: what the operator brings fits the layout."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, Fault, assert_named

FAULTS = {
    "shared without consent": Fault(
        PLAIN + "pki: {layout: shared}\n", ("pki.layout", "allow_shared_key: true")
    ),
    "consent without shared": Fault(
        PLAIN + "pki: {allow_shared_key: true}\n", ("pki.allow_shared_key",)
    ),
    "brought member unknown": Fault(
        PLAIN + "pki: {layout: lab, imports: {ca_certificate: ca.pem, members: {z: {server: "
        "{certificate: c.pem, key: k.pem}}}}}\n",
        ("pki.imports.members.z", "no member"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])
