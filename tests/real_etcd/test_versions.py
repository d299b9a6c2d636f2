"""Which tests of this suite run on a day; these themselves run with the unit tests."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
import yaml

from imagegen.spec.read import parse_spec
from tests.conftest import EXAMPLES, ROOT

from .versions import (
    ALWAYS,
    PACKAGED,
    PARTS,
    RELEASED,
    VERSIONS,
    pytest_report_header,
    spec_for,
    which,
    whose_turn,
)

UNITS = {(version, f"case {n}") for version in VERSIONS for n in range(17)}
DAY = date(2026, 12, 1)


def days(number: int) -> list[set[tuple[str, str]]]:
    return [whose_turn(UNITS, DAY + timedelta(days=n)) for n in range(number)]


def test_everything_runs_every_day_on_the_newest_and_on_debian_13s():
    assert {"3.5", VERSIONS[-1]} == set(ALWAYS)
    always = {unit for unit in UNITS if unit[0] in ALWAYS}
    assert all(always <= day for day in days(PARTS))


def test_every_case_on_another_has_its_day_before_any_has_two():
    turns = [day - {unit for unit in UNITS if unit[0] in ALWAYS} for day in days(PARTS)]
    assert set().union(*turns) == {unit for unit in UNITS if unit[0] not in ALWAYS}
    assert sum(len(turn) for turn in turns) == len(set().union(*turns))
    # No day has much more to do than another, and none is for one version alone.
    assert max(map(len, turns)) - min(map(len, turns)) <= 1
    assert all(len({version for version, _ in turn}) > 1 for turn in turns)
    assert days(PARTS + 1)[-1] == days(1)[0]


def test_pytest_runs_what_has_its_turn():
    """And says which part of the whole it is."""
    module = "tests/real_etcd/test_snapshot.py"
    command = ("-m", "etcd", "--collect-only", "--quiet", "--etcd", DAY.isoformat(), module)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    found = set(re.findall(rf"^{module}::.*$", done.stdout, re.MULTILINE))
    tests = {name.partition("[")[0] for name in found}
    every = {(version, f"{test}[{version}]") for test in tests for version in VERSIONS}
    assert found == {name for _, name in whose_turn(every, DAY)}
    assert 0 < len(found) < len(every)


def test_a_report_says_which_part_it_is_of():
    config = SimpleNamespace(getoption={"--etcd": "2026-12-01"}.get)
    said = pytest_report_header(config)
    others = ", ".join(version for version in VERSIONS if version not in ALWAYS)
    part = DAY.toordinal() % PARTS + 1
    assert f"part {part} of {PARTS} of what runs on {others} (--etcd 2026-12-01)" in said


def test_an_etcd_that_the_suite_does_not_know_is_named():
    with pytest.raises(ArgumentTypeError, match=r"3\.3: not one of 3\.4, "):
        which("3.6,3.3")
    assert which("3.6,3.5") == "3.6,3.5"
    assert date.fromisoformat(which("today"))


@pytest.mark.parametrize("etcd", VERSIONS)
@pytest.mark.parametrize("example", ["smallest", "hardened", "icc-etcd"])
def test_a_spec_names_the_etcd_that_its_members_run(etcd, example):
    """So that its settings are judged, and its documents made, for that one."""
    text = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
    text.get("etcd", {}).pop("settings", None)
    spec, _ = parse_spec(spec_for(etcd, yaml.safe_dump(text)), source="test.yaml")
    assert spec.etcd_version.branch == ".".join(etcd.split(".")[:2])
    if etcd in RELEASED:
        assert str(spec.etcd_version) == RELEASED[etcd]
    else:
        assert spec.distribution == PACKAGED[etcd]
