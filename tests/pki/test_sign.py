"""imagegen.pki.sign: what is signed, decoded, and verified by openssl too."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from imagegen.base.problems import ImagegenError
from imagegen.pki.model import Credential
from imagegen.pki.pem import (
    algorithm_of,
    describe,
    private_key_in,
    revoked_in,
)
from imagegen.pki.sign import sign_crl
from tests.conftest import NOW, require_program
from tests.pki.clusters import (
    ALGORITHMS,
    BOTH,
    all_credentials,
    assert_is_leaf,
    cluster_of,
    extension,
    issue,
    issued_with,
    parsed,
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_every_credential_serves_its_role(layout, algorithm):
    """Servers and peers may dial and answer, clients only dial; each under its own CA."""
    cluster, pki = issued_with(layout, algorithm)
    for member in pki.members.values():
        assert_is_leaf(member.server, pki.ca.certificate_pem, BOTH)
        assert_is_leaf(member.peer, pki.peer_ca.certificate_pem, BOTH)
    for client in (pki.client, *pki.clients.values()):
        assert client is not None
        assert_is_leaf(client, pki.ca.certificate_pem, {ExtendedKeyUsageOID.CLIENT_AUTH})
    for ca in (pki.ca, pki.peer_ca):
        certificate = parsed(ca.certificate_pem)
        constraints = extension(certificate, x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
            True,
            True,
            0,
        )
        assert extension(certificate, x509.KeyUsage).value.key_cert_sign
        assert algorithm_of(certificate.public_key()) == algorithm
    serials = [parsed(c.certificate_pem).serial_number for c in set(all_credentials(pki))]
    assert len(serials) == len(set(serials))
    keys = {c.key_pem for c in all_credentials(pki)}
    assert len(keys) == 1 + len(cluster.members) * (2 if layout == "separate" else 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_openssl_agrees(layout, algorithm, tmp_path):
    """openssl accepts each leaf for its purpose and host, and under no other CA."""
    openssl = require_program("openssl")
    cluster, pki = issued_with(layout, algorithm)

    def verdict(ca: str, credential: Credential, *options: str) -> bool:
        (tmp_path / "ca.pem").write_text(ca)
        (tmp_path / "leaf.pem").write_text(credential.certificate_pem)
        command = [openssl, "verify", "-x509_strict", "-attime", str(int(NOW.timestamp()))]
        command += [*options, "-CAfile", "ca.pem", "leaf.pem"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0

    client_ca, peer_ca = pki.ca.certificate_pem, pki.peer_ca.certificate_pem
    for member in cluster.members:
        credentials = pki.members[member.name]
        for purpose in ("sslserver", "sslclient"):
            at = ("-purpose", purpose, "-verify_ip", str(member.client_address))
            assert verdict(client_ca, credentials.server, *at)
            at = ("-purpose", purpose, "-verify_ip", str(member.peer_address))
            assert verdict(peer_ca, credentials.peer, *at)
        assert verdict(client_ca, credentials.server, "-verify_hostname", "localhost")
        assert not verdict(client_ca, credentials.server, "-verify_ip", "192.0.2.1")
        if layout == "separate":
            assert not verdict(client_ca, credentials.peer)
            assert not verdict(peer_ca, credentials.server)
    assert pki.client is not None
    assert verdict(client_ca, pki.client, "-purpose", "sslclient")
    assert not verdict(client_ca, pki.client, "-purpose", "sslserver")


def test_lifetimes():
    """As the spec says, per client if it says so, and never beyond the CA's end."""
    pki = issue(cluster_of(ca_days=1000, leaf_days=1095)).pki
    ca_end = describe(pki.ca.certificate_pem).not_after
    assert ca_end == NOW + timedelta(days=1000)
    ends = {name: describe(c.certificate_pem).not_after for name, c in pki.clients.items()}
    assert ends == {"kube-apiserver": ca_end, "backup": NOW + timedelta(days=90)}
    assert describe(pki.members["etcd-1"].peer.certificate_pem).not_after == ca_end
    leaf = describe(issue(cluster_of()).pki.members["etcd-1"].server.certificate_pem)
    assert leaf.not_after == NOW + timedelta(days=1095)
    assert leaf.not_before == NOW - timedelta(hours=1)


def test_a_passphrase_encrypts_the_ca_keys_and_is_asked_for_only_to_sign():
    cluster = cluster_of()
    stored = issue(cluster, passphrase=b"correct horse").pki
    for ca in (stored.ca, stored.peer_ca):
        assert "BEGIN ENCRYPTED PRIVATE KEY" in (ca.key_pem or "")
        assert private_key_in(ca.key_pem or "", b"correct horse")
    assert "BEGIN PRIVATE KEY" in stored.members["etcd-1"].server.key_pem
    assert not issue(cluster, stored).changed
    grown = cluster_of(extra="10.0.0.9")
    with pytest.raises(ImagegenError, match="is encrypted") as caught:
        issue(grown, stored, reissue=True)
    assert "IMAGEGEN_CA_PASSPHRASE" in str(caught.value)
    with pytest.raises(ImagegenError, match="the passphrase does not open") as caught:
        issue(grown, stored, reissue=True, passphrase=b"battery staple")
    assert "battery" not in str(caught.value)
    signed = issue(grown, stored, reissue=True, passphrase=b"correct horse")
    assert signed.pki.ca == stored.ca


def test_a_missing_or_foreign_ca_key_says_so():
    cluster, grown = cluster_of(), cluster_of(extra="10.0.0.9")
    stored = issue(cluster).pki
    with pytest.raises(ImagegenError, match="client-ca has to sign, and its key is not here"):
        issue(grown, replace(stored, ca=replace(stored.ca, key_pem=None)), reissue=True)
    foreign = replace(stored.ca, key_pem=stored.peer_ca.key_pem)
    with pytest.raises(ImagegenError, match="does not belong to"):
        issue(grown, replace(stored, ca=foreign), reissue=True)


# --- the list of revoked certificates -------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ed25519"])
def test_a_list_says_what_is_revoked_for_as_long_as_the_ca_lasts(algorithm):
    """Its number is its length: a longer list is a newer one."""
    ca = issued_with("lab", algorithm)[1].ca
    revoked: dict[int, datetime] = {}
    for number, serial in enumerate((7, 2**150), 1):
        revoked[serial] = NOW - timedelta(days=number)
        text = sign_crl(ca, revoked, now=NOW)
        crl = x509.load_pem_x509_crl(text.encode())
        certificate = parsed(ca.certificate_pem)
        assert crl.is_signature_valid(certificate.public_key())
        assert crl.issuer == certificate.subject
        assert crl.last_update_utc == NOW
        assert crl.next_update_utc == certificate.not_valid_after_utc
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        assert revoked_in(text) == revoked


def test_a_list_is_not_older_than_its_ca():
    """A clock that is behind still makes a list that its readers take."""
    ca = issued_with("lab", "ed25519")[1].ca
    begin = parsed(ca.certificate_pem).not_valid_before_utc
    crl = x509.load_pem_x509_crl(sign_crl(ca, {}, now=begin - timedelta(days=1)).encode())
    assert crl.last_update_utc == begin


def test_a_list_needs_the_cas_key():
    ca = replace(issued_with("lab", "ed25519")[1].ca, key_pem=None)
    with pytest.raises(ImagegenError, match="ca has to sign, and its key is not here"):
        sign_crl(ca, {}, now=NOW)
