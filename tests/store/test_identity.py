"""imagegen.store.identity: a cluster stays the one it was, or says why not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from imagegen.base.problems import ImagegenError, ProblemsError
from imagegen.cluster.cluster import Cluster
from imagegen.spec.model import Spec
from imagegen.store.identity import identity_for
from imagegen.store.record import record_of
from tests.conftest import NOW, make_cluster

TWO = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"


def spec_of(text: str) -> Spec:
    return make_cluster(text).spec


def test_a_first_build_makes_a_random_identity():
    one, two = (identity_for(spec_of(TWO), None, now=NOW) for _ in range(2))
    assert one.created == NOW
    assert len({one.store_id, two.store_id, one.token, two.token}) == 4
    assert len(one.store_id) == 32
    assert one.token.startswith("c-")
    own = identity_for(spec_of(TWO + "token: etcd-cluster-0\n"), None, now=NOW)
    assert own.token == "etcd-cluster-0"
    fixed = identity_for(spec_of(TWO), None, now=NOW, random_hex=lambda size: "ab" * size)
    assert (fixed.store_id, fixed.token) == ("ab" * 16, "c-" + "ab" * 8)


def test_a_later_build_has_the_recorded_identity():
    """At any time, in any order of members, with whatever else changed in the spec."""
    spec = spec_of(TWO)
    record = record_of(Cluster(spec=spec, identity=identity_for(spec, None, now=NOW)))
    other = spec_of(
        "cluster: c\nmembers:\n  - {name: b, address: 10.0.0.2, generation: 3}\n"
        "  - {name: a, address: 10.0.0.1, dns_names: [a.example.org]}\n"
        f"token: {record.token}\npki: {{leaf_days: 30}}\n"
    )
    later = NOW + timedelta(days=9)
    identity = identity_for(other, record, now=later)
    assert identity == identity_for(spec, record, now=later)
    assert (identity.store_id, identity.token, identity.created) == (
        record.store_id,
        record.token,
        NOW,
    )
    assert record_of(Cluster(spec=other, identity=identity), record) is record


def test_every_difference_is_named_with_what_to_do():
    record = record_of(make_cluster(TWO, token="t"))
    changed = spec_of(
        "cluster: c\ntoken: other\n"
        "members: [{name: a, address: 10.0.0.9}, {name: d, address: 10.0.0.4}]\n"
    )
    with pytest.raises(ProblemsError) as caught:
        identity_for(changed, record, now=NOW)
    problems = caught.value.problems
    assert [(p.where, p.what) for p in problems] == [
        ("members", "a has moved from https://10.0.0.1:2380 to https://10.0.0.9:2380"),
        ("members", "b (https://10.0.0.2:2380) is in the recorded cluster, and not in the spec"),
        ("members", "d (https://10.0.0.4:2380) is not in the recorded cluster"),
        ("token", "other is not the recorded t"),
    ]
    assert all("--new-cluster" in problem.hint for problem in problems)
    for problem, verb in zip(problems, ("replace", "remove", "add"), strict=False):
        assert f"imagegen member {verb}" in problem.hint


def test_another_peer_port_moves_every_member():
    record = record_of(make_cluster(TWO, token="t"))
    with pytest.raises(ProblemsError) as caught:
        identity_for(spec_of(TWO + "etcd: {peer_port: 12380}\n"), record, now=NOW)
    assert len(caught.value.problems) == 2


def test_a_new_cluster_keeps_the_pki_and_nothing_else():
    spec = spec_of(TWO)
    record = record_of(make_cluster(TWO, token="t"))
    later = NOW + timedelta(days=9)
    identity = identity_for(spec, record, now=later, new_cluster=True)
    assert identity.created == later
    assert identity.store_id != record.store_id
    assert identity.token != record.token
    fresh = record_of(Cluster(spec=spec, identity=identity), record)
    assert fresh.store_id == identity.store_id
    assert fresh.cluster_id != record.cluster_id
    with pytest.raises(ImagegenError, match="sets t again") as caught:
        identity_for(spec_of(TWO + "token: t\n"), record, now=later, new_cluster=True)
    assert "remove it" in caught.value.problems[0].hint
    renamed = spec_of(TWO + "token: u\n")
    assert identity_for(renamed, record, now=later, new_cluster=True).token == "u"
