"""imagegen.spec.starter: what init writes is a good spec."""

from __future__ import annotations

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.spec.read import parse_spec
from imagegen.spec.starter import starter_spec


@pytest.mark.parametrize("members", [1, 3, 5])
@pytest.mark.parametrize("first", ["10.240.0.11", "2001:db8::11"])
def test_starter_is_a_good_spec(members, first):
    """What init writes builds as it is."""
    text = starter_spec(cluster="mine", members=members, first_address=first)
    spec, warnings = parse_spec(text, source="cluster.yaml")
    assert len(spec.members) == members
    assert str(spec.members[0].address) == first
    assert all("survives no failure" in str(warning) for warning in warnings)


@pytest.mark.parametrize(
    ("cluster", "members", "first"),
    [("x", 5, "nonsense"), ("x", 5, "10.0.0.253"), ("x", 3, "10.0.0.1"), ("X Y", 3, "10.0.0.11"),
     ("x", 3, "255.255.255.254")],
)  # fmt: skip
def test_starter_refuses(cluster, members, first):
    """Arguments that make no cluster are explained."""
    with pytest.raises(ImagegenError):
        starter_spec(cluster=cluster, members=members, first_address=first)
