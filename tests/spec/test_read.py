"""imagegen.spec.read: a spec is read whole, or every problem is named."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.base.problems import ImagegenError
from imagegen.spec.model import Spec
from imagegen.spec.read import parse_spec
from imagegen.spec.reference import spec_schema
from tests.conftest import EXAMPLES
from tests.spec.specs import PLAIN, problems_of


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_good(path):
    """Each example parses without a warning and fits the schema editors use."""
    text = path.read_text()
    _, warnings = parse_spec(text, source=path.name)
    assert not warnings
    jsonschema.validate(yaml.safe_load(text), spec_schema())


def test_two_keys_are_enough():
    """A name and members with name and address make a cluster."""
    spec, warnings = parse_spec(PLAIN, source="c.yaml")
    assert [str(member.address) for member in spec.members] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert spec.pki.layout == "separate"
    assert not warnings


def test_all_problems_at_once_in_the_order_of_the_file():
    """A spec with many faults names each with line, column, value and a way out."""
    found = problems_of(
        """\
cluster: Bad_Name
clutser: x
members:
  - {name: a, address: 10.0.0.11, mac: 52:54:00:12:34:56}
  - {name: a, address: 10.0.0.11, mac: "52:54:00:00:00:01"}
  - {name: no, address: 10.0.0.999, mac: "52:54:00:00:00:01"}
network: {prefix: 24, gateway: 10.1.0.1}
"""
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "c.yaml:1:10",
        "c.yaml:2:1",
        "c.yaml:4:40",
        "c.yaml:5:12",
        "c.yaml:5:24",
        "c.yaml:6:12",
        "c.yaml:6:25",
        "c.yaml:6:42",
        "c.yaml:7:32",
    ]
    assert all("\nhint: " in problem for problem in found)


def test_faults_do_not_hide_others():
    """A duplicate name is found although another member's address is unreadable."""
    found = problems_of(PLAIN.replace("10.0.0.1}", "nonsense}").replace("name: d", "name: b"))
    assert any("members[0].address" in problem for problem in found)
    assert any("members[2].name: b is already used" in problem for problem in found)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_a_spec_or_an_explained_error(text):
    """No text makes the reader fail in a way it does not explain."""
    try:
        spec, _ = parse_spec(text, source="c.yaml")
    except ImagegenError:
        return
    assert isinstance(spec, Spec)
