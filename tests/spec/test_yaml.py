"""imagegen.spec.yaml: hostile YAML is an error, and costs little."""

from __future__ import annotations

import tracemalloc

import pytest

from imagegen.spec.read import parse_spec
from tests.spec.specs import PLAIN, Fault, assert_named, problems_of

FAULTS = {
    "tab": Fault("cluster: c\nmembers:\n\t- a\n", ("c.yaml:3:1", "not YAML")),
    "empty": Fault("", ("empty",)),
    "two documents": Fault("cluster: c\n---\ncluster: d\n", ("not YAML",)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


def test_alias_bomb_stops():
    """Aliases that expand without end are refused, quickly."""
    names = f"&names [{', '.join(['a.example'] * 1000)}]"
    member = f"&member {{name: a, address: 10.0.0.1, dns_names: {names}}}"
    text = f"cluster: c\nmembers: [{member}{', *member' * 500}]\n"
    assert any("aliases" in problem for problem in problems_of(text))


def test_deep_nesting_is_an_error():
    """Nesting beyond any sense is a message, not a crash."""
    assert problems_of("[" * 100_000)


def test_alias_is_fine():
    """An honest alias reads like what it stands for."""
    text = PLAIN.replace("10.0.0.1}", "10.0.0.1, dns_names: &names [x.example]}")
    spec, _ = parse_spec(text + "hosts: [{address: 10.0.0.9, names: *names}]\n", source="c.yaml")
    assert spec.hosts[0].names == ("x.example",)


def test_an_alias_of_itself_is_an_error():
    """It has no end, and ended in a RecursionError."""
    found = problems_of(PLAIN + "extra_user_data: {a: &a [x, *a]}\n")
    assert any("extra_user_data.a" in problem and "alias of itself" in problem for problem in found)


def test_an_alias_bomb_costs_little_memory():
    """Ten aliases of ten aliases, and so on; it once took 145 MB."""
    levels = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    levels += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 12)]
    tracemalloc.start()
    try:
        found = problems_of(PLAIN + f"extra_user_data: {{{', '.join(levels)}}}\n")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any("aliases" in problem for problem in found)
    assert most < 48 * 1024 * 1024
