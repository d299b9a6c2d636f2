"""Asking real etcd: what it answers, and what it says when it refuses."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from imagegen.live.client import Answer, Caller, RefusedError, UnreachableError
from tests.first_boot.lab import Authority, Lab, Member, eventually


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Three members that form one cluster."""
    lab = Lab(tmp_path)
    try:
        lab.form(*lab.members)
        yield lab
    finally:
        lab.close()


def caller(member: Member, **changes: object) -> Caller:
    pki = member.folder / "pki"
    files = {
        "ca": member.lab.client_ca.path,
        "certificate": pki / "server.pem",
        "key": pki / "server-key.pem",
    }
    return Caller(**{"timeout": 30} | files | changes)  # type: ignore[arg-type]


def test_what_a_member_says(lab: Lab) -> None:
    """IDs as predicted, one leader, the revision of the last write, and the time."""
    first = lab.members[0]
    ask = caller(first)
    states = [ask.status(member.client_url) for member in lab.members]
    assert [state.member_id for state in states] == [member.member_id for member in lab.members]
    assert {state.cluster_id for state in states} == {lab.cluster_id}
    assert len({state.leader for state in states}) == 1
    assert states[0].leader in {state.member_id for state in states}
    assert states[0].version.startswith("3.")
    assert min(state.db_size for state in states) > 0
    assert all(state.clock for state in states)
    assert ask.is_healthy(first.client_url)
    listing = ask.membership(first.client_url)
    assert listing.cluster_id == lab.cluster_id
    assert {m.name: m.client_urls for m in listing.members} == {
        member.name: (member.client_url,) for member in lab.members
    }
    before = ask.status(first.client_url).revision
    assert first.put("a", "1")
    assert ask.status(first.client_url).revision == before + 1


def test_membership_changes(lab: Lab) -> None:
    """A learner is listed without a name, cannot be promoted unsynced, and can be removed."""
    first = lab.members[0]
    ask = caller(first)
    # A cluster refuses to change while it is young.
    added = []

    def add() -> bool:
        try:
            added.append(ask.add_learner(first.client_url, ("https://127.0.0.1:23999",)))
        except RefusedError as error:
            return "unhealthy" not in error.message
        return True

    eventually(add)
    learner, listing = added[0]
    assert (learner.name, learner.is_learner, len(listing.members)) == ("", True, 4)
    with pytest.raises(RefusedError, match="in sync") as refused:
        ask.promote(first.client_url, learner.member_id)
    assert refused.value.code == 9  # gRPC's FailedPrecondition
    after = ask.remove(first.client_url, learner.member_id)
    assert len(after.members) == 3
    with pytest.raises(RefusedError, match="member not found"):
        ask.remove(first.client_url, learner.member_id)


def test_a_snapshot_ends_with_its_digest(lab: Lab) -> None:
    """Its last 32 bytes are the SHA-256 of those before (etcdserver, api/v3rpc/maintenance.go)."""
    first = lab.members[0]
    data = b"".join(caller(first).snapshot(first.client_url))
    assert len(data) % 512 == 32
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


def test_the_leader_hands_over(lab: Lab) -> None:
    """To the member that is named, and to no other."""
    ask = caller(lab.members[0])
    leader = ask.status(lab.members[0].client_url).leader
    url = next(m.client_url for m in lab.members if m.member_id == leader)
    heir = next(m for m in lab.members if m.member_id != leader)
    ask.move_leader(url, heir.member_id)
    eventually(lambda: ask.status(heir.client_url).leader == heir.member_id)


def test_why_there_is_no_answer(lab: Lab, tmp_path: Path) -> None:
    """A closed port, a silent one, a foreign CA on either side: each by its name."""
    member = lab.members[0]
    ask = caller(member)
    with pytest.raises(UnreachableError, match="Connection refused"):
        ask.status("https://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=r"no answer within 0\.5 s"):
            caller(member, timeout=0.5).status(url)
    stranger = Authority(tmp_path / "stranger", "stranger")
    with pytest.raises(UnreachableError, match="certificate will not do"):
        caller(member, ca=stranger.path).status(member.client_url)
    certificate, key = stranger.issue(tmp_path / "stranger/client")
    with pytest.raises(UnreachableError, match=r"TLS failed|reset|Broken pipe|no HTTP answer"):
        caller(member, certificate=certificate, key=key).status(member.client_url)


class Saying(Caller):
    """A caller to whom every member says the same."""

    said: Any = None

    def ask(self, url: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return Answer(document=self.said, cluster_id=1, clock=None, certificate=b"")


@pytest.mark.parametrize("learner", [True, False])
def test_who_is_a_learner(learner):
    """etcd leaves out what is false; both of its answers that tell are read alike."""
    caller = Saying(ca=Path("ca"), certificate=Path("client"), key=Path("key"))
    mark = {"isLearner": True} if learner else {}
    header = {"cluster_id": "1", "member_id": "2"}
    listed = {"ID": "2", "name": "a", **mark}
    Saying.said = {"header": header, "version": "3.5.16", "members": [listed], **mark}
    assert caller.status("https://10.0.0.1:2379").is_learner is learner
    [member] = caller.membership("https://10.0.0.1:2379").members
    assert member.is_learner is learner
