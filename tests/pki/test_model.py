"""imagegen.pki.model: what follows from the values themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagegen.pki.leaves import Role, member_leaves
from imagegen.pki.model import CLIENT_CA, ONE_CA, PEER_CA
from tests.pki.clusters import cluster_of, issue


@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_one_ca_or_two_is_what_the_cluster_asked_for(layout):
    """Also after the CA was replaced by an equal one, as when its key is taken away."""
    cluster = cluster_of(layout)
    pki = issue(cluster).pki
    away = replace(
        pki, ca=replace(pki.ca, key_pem=None), peer_ca=replace(pki.peer_ca, key_pem=None)
    )
    for one in (pki, away):
        assert one.one_ca == cluster.one_credential == (layout == "lab")
        names = [ONE_CA] if layout == "lab" else [CLIENT_CA, PEER_CA]
        assert [authority.name for authority in one.authorities] == names


@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_roles_are_those_of_the_leaves_that_a_member_has(layout):
    cluster = cluster_of(layout)
    pki = issue(cluster).pki
    leaves = member_leaves(cluster, cluster.members[0])
    assert pki.roles == tuple(leaf.role for leaf in leaves)
    assert {pki.role_at(Role.SERVER), pki.role_at(Role.PEER)} == set(pki.roles)
    own = pki.members["etcd-1"]
    assert own.of(pki.role_at(Role.SERVER)) == own.server
    assert own.of(pki.role_at(Role.PEER)) == own.peer
    assert pki.authority_of(pki.role_at(Role.PEER)) == pki.peer_ca
    assert pki.authority_of(Role.CLIENT) == pki.ca
