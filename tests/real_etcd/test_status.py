"""`imagegen status` of clusters formed from nothing but what `imagegen build` wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EXAMPLES, ROOT

from .lab import Lab, Machine, eventually, formed

pytestmark = pytest.mark.etcd

SMALLEST = (EXAMPLES / "smallest.yaml").read_text()
LAB = f"{SMALLEST}\npki: {{layout: lab}}\n"
SPECS = {
    "separate": SMALLEST,
    "one CA": LAB,
    "IPv6": (EXAMPLES / "three-members-ipv6.yaml").read_text(),
}


@pytest.fixture(params=SPECS)
def place(request: pytest.FixtureRequest, etcd: str, tmp_path: Path) -> Iterator[tuple[Lab, Path]]:
    """A formed cluster, and the directory with its spec and store."""
    with formed(SPECS[request.param], etcd, tmp_path) as lab:
        yield lab, tmp_path


def status(machine: Machine, build: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and facts of the command, run on one of the machines."""
    done = subprocess.run(
        machine.inside(
            # On a machine of its own it starts in /.
            *("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "imagegen"),
            *("status", str(build / "cluster.yaml"), "--pki", str(build / "pki"), "--json"),
        ),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def kinds(facts: dict[str, Any]) -> set[str]:
    return {problem["kind"] for problem in facts["problems"] if problem["severity"] == "error"}


def test_from_the_operators_machine_and_from_a_members(place):
    """Healthy from both; peers answer only who comes from an address of their own.

    All that the operator's machine has of the peer side is the certificate,
    which is enough to see when it ends.
    """
    lab, build = place
    code, facts = status(lab.operator, build)
    assert (code, facts["problems"]) == (0, [])
    assert facts["cluster_id"] == lab.manifest["cluster_id"]
    assert {m["peer_answers"] for m in facts["members"]} == {False}
    assert {m["peer_certificate_days"] for m in facts["members"]} == {1094}
    code, facts = status(lab.members[0], build)
    assert (code, facts["problems"]) == (0, [])
    assert {m["peer_answers"] for m in facts["members"]} == {True}


def test_without_a_quorum(place):
    """How many are missing is known from outside; it comes back once one is back."""
    lab, build = place
    *others, last = lab.members
    for member in others:
        member.kill()
    eventually(lambda: "no-quorum" in kinds(status(lab.operator, build)[1]), "the loss is noticed")
    code, facts = status(lab.operator, build)
    assert code == 1
    assert kinds(facts) == {"no-quorum", "unreachable"}
    assert facts["quorum"] == {"voters": 3, "answering": 1, "needed": 2, "serves": False}
    assert facts["members"][2]["state"] == "no quorum"
    others[0].start()
    eventually(lambda: kinds(status(lab.operator, build)[1]) == {"unreachable"}, "a quorum")
    assert last.running


def test_a_member_that_has_not_joined(place):
    """From outside its certificates are seen, from a member's machine its other cluster."""
    lab, build = place
    first, *_, last = lab.members
    last.kill()
    last.start(
        ETCD_INITIAL_CLUSTER_TOKEN="other", ETCD_DATA_DIR=f"{last.settings['ETCD_DATA_DIR']}/other"
    )
    eventually(
        lambda: status(lab.operator, build)[1]["members"][2]["state"] == "not serving", "its start"
    )
    _, facts = status(lab.operator, build)
    assert kinds(facts) == {"unreachable"}
    [problem] = facts["problems"]
    assert "another token" in problem["hint"]
    assert kinds(status(first, build)[1]) == {"wrong-token"}
