"""imagegen.pki.faults: nothing in ours, and each fault elsewhere by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from imagegen.pki.faults import check_credential
from imagegen.pki.leaves import client_leaves, member_leaves
from imagegen.pki.model import Credential
from tests.conftest import NOW
from tests.pki.clusters import (
    cluster_of,
    issue,
)


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
    assert faults(replace(credentials.server, key_pem="")) == ["is not PEM"]
    assert faults(replace(credentials.server, certificate_pem=credentials.server.key_pem)) == [
        "holds no certificate, only: private key"
    ]
    assert (
        "CA's own certificate"
        in faults(Credential(certificate_pem=ca_pem, key_pem=pki.ca.key_pem or ""))[0]
    )
