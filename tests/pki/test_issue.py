"""imagegen.pki.issue: what is kept, what is signed anew, and what stops a build."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from imagegen.base.problems import ImagegenError, ProblemsError, Severity
from imagegen.pki.model import Credential, Imported, Pki
from imagegen.pki.pem import (
    describe,
)
from imagegen.pki.sign import new_authority
from tests.conftest import NOW, make_cluster
from tests.pki.clusters import (
    BOTH,
    SPEC,
    all_credentials,
    assert_is_leaf,
    cluster_of,
    issue,
)


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
    assert "is not PEM" in caught.value.problems[0].what


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
