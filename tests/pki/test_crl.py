"""Lists of revoked certificates."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from imagegen.pki.issue import issue_pki
from imagegen.pki.sign import sign_crl
from tests.conftest import NOW, make_cluster


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_number_of_a_list_is_its_length(length):
    """Lists only grow, so a later one has a higher number (RFC 5280, 5.2.3)."""
    cluster = make_cluster("cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\n")
    authority = issue_pki(cluster, stored=None, now=NOW).pki.ca
    revoked = {serial: NOW + timedelta(days=serial) for serial in range(1, length + 1)}
    crl = x509.load_pem_x509_crl(sign_crl(authority, revoked, now=NOW).encode())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == length
    assert {entry.serial_number for entry in crl} == revoked.keys()
