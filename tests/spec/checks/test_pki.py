"""imagegen.spec.checks.pki: what the operator brings fits the layout."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, Fault, assert_named, problems_of

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
        ("pki.imports.members.z", "not a member"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


def test_an_import_is_not_judged_for_a_layout_that_is_not_known():
    """It once said that layout None has one CA."""
    found = problems_of(PLAIN + "pki: {layout: labb, imports: {peer_ca_certificate: x}}\n")
    assert len(found) == 1
    assert "did you mean lab?" in found[0]


def test_a_credential_of_a_member_whose_name_cannot_be_read_is_not_refused():
    """It may be the credential of that member."""
    credential = "{server: {certificate: c.pem, key: k.pem}}"
    found = problems_of(
        PLAIN.replace("name: d", "name: D")
        + f"pki: {{layout: lab, imports: {{ca_certificate: ca.pem, members: {{a: {credential}, "
        f"b: {credential}, d: {credential}}}}}}}\n"
    )
    assert len(found) == 1
    assert "members[2].name" in found[0]
