"""Specs that are nearly alike, and how the faults of one are told."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.base.problems import ProblemsError, Severity
from imagegen.spec.read import parse_spec

PLAIN = """\
cluster: c
members:
  - {name: a, address: 10.0.0.1}
  - {name: b, address: 10.0.0.2}
  - {name: d, address: 10.0.0.3}
"""

STATIC = """\
cluster: c
members:
  - {name: a, address: 10.0.0.11, interface: ens3}
  - {name: b, address: 10.0.0.12, interface: ens3}
  - {name: d, address: 10.0.0.13, interface: ens3}
network: {prefix: 24, gateway: 10.0.0.1}
"""


SHA = "0123456789abcdef" * 4


def problems_of(text: str) -> list[str]:
    """Every problem's text, errors and warnings."""
    try:
        _, warnings = parse_spec(text, source="c.yaml")
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in warnings]


@dataclass
class Fault:
    """A spec with one fault, and words its message must have."""

    text: str
    words: tuple[str, ...]
    severity: Severity = Severity.ERROR


def assert_named(fault: Fault) -> None:
    """The fault has a message of its own, with a place and a hint."""
    found = problems_of(fault.text)
    matching = [p for p in found if all(word in p for word in fault.words)]
    assert matching, found
    assert matching[0].startswith(f"{fault.severity}: c.yaml")
