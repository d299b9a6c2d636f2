"""imagegen.pki: decoded, and verified by openssl too."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from functools import cache
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from imagegen.base.problems import ImagegenError, ProblemsError, Severity
from imagegen.cluster.cluster import Cluster
from imagegen.pki.faults import check_credential
from imagegen.pki.issue import Issued, issue_pki
from imagegen.pki.leaves import client_leaves, member_leaves
from imagegen.pki.model import Credential, Imported, MemberCredentials, Pki
from imagegen.pki.pem import (
    KEY_MAKERS,
    algorithm_of,
    certificates_in,
    describe,
    key_pem,
    private_key_in,
)
from imagegen.pki.sign import new_authority
from tests.conftest import NOW, make_cluster, require_program

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


@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_names_and_addresses_are_the_members(layout):
    """Each certificate carries exactly what its member is dialled by and dials from."""
    cluster = cluster_of(layout, extra="192.0.2.7", dns="etcd.example.org")
    pki = issue(cluster).pki

    def sans(credential: Credential) -> set[str]:
        return set(describe(credential.certificate_pem).sans)

    for member in cluster.members:
        server = {*member.server_names, *map(str, member.server_addresses)}
        peer = {*member.peer_names, *map(str, member.peer_addresses)}
        if layout == "lab":
            server = peer = server | peer
        assert sans(pki.members[member.name].server) == server
        assert sans(pki.members[member.name].peer) == peer
    first = sans(pki.members["etcd-1"].server)
    assert {"10.240.0.11", "192.0.2.7", "etcd.example.org", "127.0.0.1", "::1"} <= first
    assert "10.250.0.12" in sans(pki.members["etcd-2"].peer)


def test_common_names_tell_members_from_clients():
    """With one CA the members share a name that no client has; with two, each has its own."""
    lab, separate = issue(cluster_of("lab")).pki, issue(cluster_of("separate")).pki
    names = {describe(m.peer.certificate_pem).common_name for m in lab.members.values()}
    assert names == {"icc-etcd"} == {lab.peer_common_name}
    assert separate.peer_common_name is None
    for name, member in separate.members.items():
        assert describe(member.server.certificate_pem).common_name == name
    for pki in (lab, separate):
        clients = {name: describe(c.certificate_pem).common_name for name, c in pki.clients.items()}
        assert clients == {"kube-apiserver": "kube-apiserver", "backup": "Back Up"}
        assert describe(pki.client.certificate_pem).common_name == "client"


@pytest.mark.parametrize(("layout", "common_name"), [("lab", "icc-etcd"), ("separate", "etcd-2")])
def test_a_client_called_like_a_member_is_refused(layout, common_name):
    """It would pass as a member at the peer port, or a member as it."""
    clients = f"{{name: prometheus, common_name: {common_name}}}"
    with pytest.raises(ProblemsError) as caught:
        issue(cluster_of(layout, clients=clients))
    [problem] = caught.value.problems
    assert "prometheus" in problem.where
    assert common_name in problem.what
    assert "common_name" in problem.hint


def test_no_member_is_called_like_the_superuser():
    with pytest.raises(ProblemsError, match="root"):
        issue(make_cluster("cluster: c\nmembers: [{name: root, address: 10.0.0.1}]"))


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


# --- building again -------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["separate", "lab"])
@pytest.mark.parametrize("reissue", [False, True])
def test_what_fits_stays_byte_for_byte(layout, reissue):
    """Also with --reissue, and without the CA's key, which may be away."""
    cluster = cluster_of(layout, clients="{name: kube-apiserver}")
    first = issue(cluster)
    assert first.changed
    assert not first.warnings
    offline = replace(first.pki.ca, key_pem=None)
    peer_offline = offline if layout == "lab" else replace(first.pki.peer_ca, key_pem=None)
    stored = replace(first.pki, ca=offline, peer_ca=peer_offline)
    again = issue(cluster, stored, now=NOW + timedelta(days=400), reissue=reissue)
    assert again.pki == stored
    assert again.notes == ()
    assert again.warnings == ()


#: What changes in the spec, and the reasons for which etcd-1's server leaf no longer fits.
MISFITS = {
    "moved": (
        {"first": "10.240.0.99"},
        ["address 10.240.0.99 is missing", "address 10.240.0.11 is not in the spec"],
    ),
    "address added": ({"extra": "10.0.0.9"}, ["address 10.0.0.9 is missing"]),
    "name added": ({"dns": "etcd.example.org"}, ["name etcd.example.org is missing"]),
    "lifetime": ({"leaf_days": 90}, ["is valid for 1095 days, not 90"]),
    "algorithm": ({"algorithm": "ed25519"}, ["its key is ecdsa-p256, not ed25519"]),
}


@pytest.mark.parametrize("layout", ["separate", "lab"])
@pytest.mark.parametrize("case", MISFITS)
def test_a_leaf_that_no_longer_fits_stops_the_build_with_each_reason(layout, case):
    change, reasons = MISFITS[case]
    stored = issue(cluster_of(layout)).pki
    with pytest.raises(ProblemsError) as caught:
        issue(cluster_of(layout, **change), stored)
    role = "server" if layout == "separate" else "member"
    found = [p for p in caught.value.problems if p.where == f"etcd-1 {role} certificate"]
    assert [problem.what for problem in found] == reasons
    assert all("--reissue" in problem.hint for problem in found)


@pytest.mark.parametrize("layout", ["separate", "lab"])
@pytest.mark.parametrize("case", MISFITS)
def test_reissue_signs_for_the_same_key_unless_the_algorithm_changed(layout, case):
    change, reasons = MISFITS[case]
    stored = issue(cluster_of(layout)).pki
    cluster = cluster_of(layout, **change)
    issued = issue(cluster, stored, reissue=True)
    old, new = stored.members["etcd-1"].server, issued.pki.members["etcd-1"].server
    assert_is_leaf(new, stored.ca.certificate_pem, BOTH)
    assert issued.pki.ca == stored.ca
    assert new.certificate_pem != old.certificate_pem
    assert (new.key_pem == old.key_pem) == (case != "algorithm")
    role = "server" if layout == "separate" else "member"
    done = "new key and certificate" if case == "algorithm" else "signed anew for the same key"
    assert f"etcd-1 {role} certificate: {done}: {'; '.join(reasons)}" in issued.notes
    assert not issue(cluster, issued.pki).changed
    if case in ("moved", "address added", "name added"):
        assert issued.pki.members["etcd-2"] == stored.members["etcd-2"]
        assert issued.pki.clients == stored.clients


def test_expiry_warns_then_stops_and_reissue_renews():
    """Below 60 days every build warns; expired is an error; either way --reissue mends it."""
    cluster = cluster_of(leaf_days=100, clients="")
    stored = issue(cluster).pki
    assert not issue(cluster, stored, now=NOW + timedelta(days=40)).warnings
    late = NOW + timedelta(days=40, seconds=1)
    soon = issue(cluster, stored, now=late)
    assert soon.pki == stored
    assert {p.where for p in soon.warnings} >= {"etcd-1 server certificate"}
    assert all(p.severity is Severity.WARNING and "59 days" in p.what for p in soon.warnings)
    over = NOW + timedelta(days=101)
    with pytest.raises(ProblemsError) as caught:
        issue(cluster, stored, now=over)
    assert len(caught.value.problems) == 7
    assert all(
        "expired on 2027-03-11" in p.what and "--reissue" in p.hint for p in caught.value.problems
    )
    for when in (late, over):
        renewed = issue(cluster, stored, now=when, reissue=True)
        assert not renewed.warnings
        for before, after in zip(
            all_credentials(stored), all_credentials(renewed.pki), strict=True
        ):
            assert after.key_pem == before.key_pem
            assert describe(after.certificate_pem).not_after == when + timedelta(days=100)


def test_reissue_gains_nothing_where_the_ca_ends():
    """A leaf that ends with its CA is not signed anew at every call."""
    cluster = cluster_of(ca_days=100, leaf_days=100)
    stored = issue(cluster).pki
    late = issue(cluster, stored, now=NOW + timedelta(days=95), reissue=True)
    assert late.pki == replace(stored, clients=late.pki.clients)
    assert {"client-ca", "peer-ca"} <= {p.where for p in late.warnings}


def test_an_expired_ca_signs_nothing():
    cluster = cluster_of(ca_days=100, leaf_days=100)
    stored = issue(cluster).pki
    with pytest.raises(ProblemsError, match="expired"):
        issue(cluster, stored, now=NOW + timedelta(days=101), reissue=True)


def test_a_clock_before_the_certificates_stops_the_build():
    cluster = cluster_of()
    with pytest.raises(ProblemsError, match="is not valid before"):
        issue(cluster, issue(cluster).pki, now=NOW - timedelta(days=1))


def swapped(pki: Pki, **changes: Credential) -> Pki:
    """The PKI with another credential for etcd-1."""
    member = replace(pki.members["etcd-1"], **changes)
    return replace(pki, members={**pki.members, "etcd-1": member})


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("peer's", "was not signed by CA CN=etcd client CA,O=icc-etcd"),
        ("client's", "lacks serverAuth in its extended key usage"),
        ("other key", "does not belong to its private key"),
        ("common name", "its common name is 'etcd-2', not 'etcd-1'"),
        ("damaged", "its file holds a certificate that cannot be decoded"),
    ],
)
def test_a_certificate_that_is_not_the_members_own(fault, reason):
    """Wrong CA, role, key, name or bytes: said by name, and mended for the same key."""
    cluster = cluster_of()
    good = issue(cluster).pki
    own = good.members["etcd-1"].server
    damaged = own.certificate_pem.replace(own.certificate_pem[200:204], "AAAA")
    server = {
        "peer's": good.members["etcd-1"].peer,
        "client's": good.client,
        "other key": replace(own, key_pem=good.members["etcd-2"].server.key_pem),
        "common name": good.members["etcd-2"].server,
        "damaged": replace(own, certificate_pem=damaged[:400] + damaged[500:]),
    }[fault]
    assert server is not None
    stored = swapped(good, server=server)
    with pytest.raises(ProblemsError) as caught:
        issue(cluster, stored)
    here = [p.what for p in caught.value.problems if p.where == "etcd-1 server certificate"]
    assert reason in here
    mended = issue(cluster, stored, reissue=True).pki.members["etcd-1"].server
    assert_is_leaf(mended, good.ca.certificate_pem, BOTH)
    assert not issue(cluster, swapped(good, server=mended)).changed or "key" in reason


def test_a_client_may_not_serve():
    """A server's certificate in a client's place has a usage too many."""
    cluster = cluster_of()
    good = issue(cluster).pki
    with pytest.raises(ProblemsError, match="has serverAuth in its extended key usage"):
        issue(cluster, replace(good, client=good.members["etcd-1"].server))


@pytest.mark.parametrize("reissue", [False, True])
def test_a_damaged_key_is_never_replaced(reissue):
    """Not even by --reissue: it may be the only copy, and there is a backup."""
    cluster = cluster_of()
    good = issue(cluster).pki
    broken = replace(good.members["etcd-1"].server, key_pem="-----BEGIN PRIVATE KEY-----\nx\n")
    with pytest.raises(ProblemsError) as caught:
        issue(cluster, swapped(good, server=broken), reissue=reissue)
    assert "is no PEM text" in caught.value.problems[0].what


def test_new_members_and_clients_get_theirs_and_nobody_elses_changes():
    """Growing the spec adds credentials; leaving it takes none away from others."""
    small = make_cluster("cluster: c\nmembers: [{name: a, address: 10.0.0.1}]")
    text = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"
    stored = issue(small).pki
    grown = issue(make_cluster(text + "clients: [{name: prometheus}]"), stored)
    assert grown.pki.members["a"] == stored.members["a"]
    assert grown.pki.client == stored.client
    until = "until 2029-11-30"
    assert grown.notes == (
        f"b server certificate: new: {until}",
        f"b peer certificate: new: {until}",
        f"client certificate prometheus: new: {until}",
    )


def test_another_layout_is_another_pki():
    """A second CA is never made beside a stored one, nor one dropped."""
    for before, after in (("lab", "separate"), ("separate", "lab")):
        with pytest.raises(ProblemsError) as caught:
            issue(cluster_of(after), issue(cluster_of(before)).pki, reissue=True)
        [problem] = caught.value.problems
        assert problem.where == "pki.layout"
        assert "--pki" in problem.hint


def test_members_that_shared_a_key_get_their_own():
    """Leaving layout shared: --reissue does not sign one key for all members again."""
    cluster = cluster_of("lab")
    good = issue(cluster).pki
    shared = good.members["etcd-1"]
    stored = replace(good, members=dict.fromkeys(good.members, shared))
    with pytest.raises(ProblemsError, match="its key is another member's too"):
        issue(cluster, stored)
    members = issue(cluster, stored, reissue=True).pki.members.values()
    assert len({m.server.key_pem for m in members} | {shared.server.key_pem}) == 4


# --- the CA's key ---------------------------------------------------------------------


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


# --- a CA of the operator's -----------------------------------------------------------


def brought_ca(name: str = "ca", algorithm: str = "rsa-2048", cluster: str = "corp"):
    return new_authority(name, cluster=cluster, algorithm=algorithm, days=2000, now=NOW)


def test_a_brought_ca_signs_and_keeps_its_key_to_itself():
    """Its key is used, never copied; leaves of another kind than the CA are fine."""
    ca = brought_ca()
    cluster = cluster_of("lab")
    issued = issue(cluster, imported=Imported(ca=ca))
    assert issued.pki.ca.key_pem is None
    assert issued.pki.peer_ca is issued.pki.ca
    assert_is_leaf(issued.pki.members["etcd-1"].server, ca.certificate_pem, BOTH)
    assert issued.pki.peer_common_name == "icc-etcd"
    again = issue(cluster, issued.pki, imported=Imported(ca=ca))
    assert (again.pki, again.notes) == (issued.pki, ())


def test_another_ca_needs_reissue_for_all():
    """Members that trust one CA do not meet members of another by accident."""
    cluster = cluster_of("lab")
    stored = issue(cluster).pki
    ca = brought_ca()
    with pytest.raises(ProblemsError) as caught:
        issue(cluster, stored, imported=Imported(ca=ca))
    assert any("is not the CA that signed" in p.what for p in caught.value.problems)
    issued = issue(cluster, stored, imported=Imported(ca=ca), reissue=True)
    for name, member in issued.pki.members.items():
        assert_is_leaf(member.server, ca.certificate_pem, BOTH)
        assert member.server.key_pem == stored.members[name].server.key_pem


def test_bringing_back_the_stored_ca_loses_no_key():
    """The CA that the store made, named in imports later: the store keeps its key."""
    cluster = cluster_of("lab")
    stored = issue(cluster).pki
    bare = replace(stored.ca, key_pem=None)
    again = issue(cluster, stored, imported=Imported(ca=bare))
    assert again.pki == stored
    assert not again.changed


def ready_made(common_name: str, ca_name: str = "lab") -> tuple[Imported, Pki]:
    """Credentials of a lab cluster called ``common_name``, as if brought without the CA's key."""
    text = SPEC.replace("icc-etcd", common_name).format(
        layout="lab",
        algorithm="ecdsa-p256",
        first="10.240.0.11",
        extra="",
        dns="",
        ca_days=3650,
        leaf_days=1095,
        clients="",
    )
    pki = issue(make_cluster(text)).pki
    bare = replace(pki.ca, key_pem=None)
    return Imported(ca=bare, members=pki.members, client=pki.client), pki


def test_ready_made_credentials_are_taken_as_they_are():
    imported, made = ready_made("kubernetes")
    cluster = cluster_of("lab", clients="")
    issued = issue(cluster, imported=imported)
    assert issued.pki.members == made.members
    assert issued.pki.client == made.client
    assert issued.pki.peer_common_name == "kubernetes"
    assert not issued.warnings
    assert not issue(cluster, issued.pki, imported=imported).changed
    newer, _ = ready_made("kubernetes")
    swapped_in = issue(
        cluster, issued.pki, imported=replace(imported, members=newer.members, ca=imported.ca)
    )
    assert "etcd-1 member certificate: taken from pki.imports" in swapped_in.notes


def test_clients_that_pass_as_members_are_warned_about():
    """In the lab etcdctl calls with the members' own pair: etcd cannot tell them apart."""
    imported, made = ready_made("kubernetes")
    same = replace(imported, client=made.members["etcd-1"].server)
    issued = issue(cluster_of("lab", clients=""), imported=same)
    assert issued.pki.peer_common_name is None
    [warning] = issued.warnings
    assert warning.severity is Severity.WARNING
    assert "peer port" in warning.what


def test_without_a_ca_key_clients_have_to_be_brought():
    imported, _ = ready_made("kubernetes")
    alone = replace(imported, client=None)
    issued = issue(cluster_of("lab", clients=""), imported=alone)
    assert issued.pki.client is None
    assert "there is no client certificate" in issued.warnings[0].what
    with pytest.raises(ImagegenError, match="its key is not here"):
        issue(cluster_of("lab"), imported=alone)


# --- checking artifacts ---------------------------------------------------------------


def test_check_credential_finds_nothing_in_ours_and_each_fault_elsewhere():
    """What `imagegen check` asks of PEM text that it found on a seed."""
    cluster = cluster_of()
    pki = issue(cluster).pki
    server, peer = member_leaves(cluster, cluster.members[0])
    credentials = pki.members["etcd-1"]
    ca_pem = pki.ca.certificate_pem

    def faults(credential: Credential, leaf=server, ca=ca_pem, now=NOW) -> list[str]:
        found = check_credential(credential, leaf, ca_pem=ca, now=now, where="user-data")
        assert all(problem.where == "user-data" for problem in found)
        return [problem.what for problem in found]

    assert faults(credentials.server) == []
    assert faults(credentials.peer, leaf=peer, ca=pki.peer_ca.certificate_pem) == []
    assert faults(pki.client, leaf=client_leaves(cluster)[0]) == []
    [what] = faults(credentials.server, now=NOW + timedelta(days=2000))
    assert what == "expired on 2029-11-30"
    [what] = faults(credentials.server, ca=pki.peer_ca.certificate_pem)
    assert "was not signed by CA CN=etcd peer CA,O=icc-etcd" in what
    [what, *_] = faults(pki.members["etcd-2"].server)
    assert "lacks 10.240.0.11 in its subject alternative names" in what
    assert faults(replace(credentials.server, key_pem=credentials.peer.key_pem)) == [
        "does not belong to its private key"
    ]
    assert "lacks serverAuth" in faults(pki.client)[0]
    assert faults(replace(credentials.server, key_pem="")) == ["is no PEM text"]
    assert faults(replace(credentials.server, certificate_pem=credentials.server.key_pem)) == [
        "holds no certificate but: private key"
    ]
    assert (
        "CA's own certificate"
        in faults(Credential(certificate_pem=ca_pem, key_pem=pki.ca.key_pem or ""))[0]
    )


def test_describe():
    facts = describe(issue(cluster_of()).pki.members["etcd-3"].peer.certificate_pem)
    assert facts.common_name == "etcd-3"
    assert facts.sans == ("etcd-3", str(ip_address("fd00::13")))
    with pytest.raises(ValueError, match="is no PEM text"):
        describe("")


def test_no_key_is_shown():
    """Not by repr or str of any value, nor by any problem about a key."""
    pki = issue(cluster_of("lab")).pki
    secret = pki.members["etcd-1"].server.key_pem.splitlines()[1]
    values = (pki, issue(cluster_of("lab"), pki), pki.ca, MemberCredentials(**vars_of(pki)))
    assert not any(
        "PRIVATE" in text or secret in text for v in values for text in (repr(v), str(v))
    )
    text = key_pem(KEY_MAKERS["ecdsa-p256"]())
    for broken in (text[:-60], text.replace("M", "!", 1), text.replace("PRIVATE", "PUBLIC")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it must not say is the point
            private_key_in(broken)
        assert not any(line in str(caught.value) for line in text.splitlines()[1:-1])


def vars_of(pki: Pki) -> dict[str, Credential]:
    member = pki.members["etcd-1"]
    return {"server": member.server, "peer": member.peer}
