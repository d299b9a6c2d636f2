"""imagegen.pki.leaves: what the leaves of a cluster say."""

from __future__ import annotations

import pytest

from imagegen.pki.model import Credential
from imagegen.pki.pem import (
    describe,
)
from tests.pki.clusters import (
    cluster_of,
    issue,
)


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
