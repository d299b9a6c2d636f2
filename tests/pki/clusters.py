"""Clusters with every layout and algorithm, their credentials, and what a good leaf is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from imagegen.cluster.cluster import Cluster
from imagegen.pki.issue import Issued, issue_pki
from imagegen.pki.model import Credential, Pki
from imagegen.pki.pem import (
    KEY_MAKERS,
    algorithm_of,
    certificates_in,
    private_key_in,
)
from tests.conftest import NOW, make_cluster

ALGORITHMS = tuple(KEY_MAKERS)


BOTH = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


SPEC = """
cluster: icc-etcd
pki: {{layout: {layout}, algorithm: {algorithm}, ca_days: {ca_days}, leaf_days: {leaf_days}}}
members:
  - {{name: etcd-1, address: {first}, extra_addresses: [{extra}], dns_names: [{dns}]}}
  - {{name: etcd-2, address: 10.240.0.12, peer_address: 10.250.0.12}}
  - {{name: etcd-3, address: "fd00::13"}}
clients: [{clients}]
"""


def cluster_of(
    layout: str = "separate",
    algorithm: str = "ecdsa-p256",
    *,
    first: str = "10.240.0.11",
    extra: str = "",
    dns: str = "",
    ca_days: int = 3650,
    leaf_days: int = 1095,
    clients: str = "{name: kube-apiserver}, {name: backup, common_name: Back Up, days: 90}",
) -> Cluster:
    return make_cluster(
        SPEC.format(
            layout=layout,
            algorithm=algorithm,
            first=first,
            extra=extra,
            dns=dns,
            ca_days=ca_days,
            leaf_days=leaf_days,
            clients=clients,
        )
    )


def issue(cluster: Cluster, stored: Pki | None = None, **options: object) -> Issued:
    return issue_pki(cluster, stored=stored, **{"now": NOW, **options})  # type: ignore[arg-type]


def all_credentials(pki: Pki) -> list[Credential]:
    members = [c for m in pki.members.values() for c in (m.server, m.peer)]
    return [*members, *filter(None, [pki.client]), *pki.clients.values()]


def parsed(pem: str) -> x509.Certificate:
    return certificates_in(pem)[0]


def extension(certificate: x509.Certificate, kind: type) -> x509.Extension:
    return certificate.extensions.get_extension_for_class(kind)


def assert_is_leaf(credential: Credential, ca_pem: str, usages: set[x509.ObjectIdentifier]) -> None:
    """Usable under the CA, for these usages and no other, by whoever has the key."""
    leaf, ca = parsed(credential.certificate_pem), parsed(ca_pem)
    leaf.verify_directly_issued_by(ca)
    key = private_key_in(credential.key_pem)
    assert credential.key_pem.startswith("-----BEGIN PRIVATE KEY-----")
    assert key.public_key() == leaf.public_key()
    assert set(extension(leaf, x509.ExtendedKeyUsage).value) == usages
    constraints = extension(leaf, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = extension(leaf, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment == algorithm_of(key.public_key()).startswith("rsa")
    assert not usage.value.key_cert_sign
    own_identifier = extension(ca, x509.SubjectKeyIdentifier).value.digest
    assert extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == own_identifier
    assert extension(leaf, x509.SubjectKeyIdentifier)
    assert ca.not_valid_before_utc <= leaf.not_valid_before_utc <= NOW - timedelta(hours=1)
    assert leaf.not_valid_after_utc <= ca.not_valid_after_utc
    assert 0 < leaf.serial_number < 2**159


@cache
def issued_with(layout: str, algorithm: str) -> tuple[Cluster, Pki]:
    """Made once, and RSA for one member only: large keys take their time."""
    cluster = cluster_of(layout, algorithm, clients="")
    if algorithm.startswith("rsa"):
        first = replace(cluster.spec, members=cluster.spec.members[:1])
        cluster = replace(cluster, spec=first)
    return cluster, issue(cluster).pki
