"""imagegen.store.events: each kind as a value and as the JSON of format 1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imagegen.cluster.cluster import RecordedMember, Restored
from imagegen.store.events import (
    Event,
    MemberAdded,
    MemberPromoted,
    MemberRemoved,
    Seen,
    SnapshotRestored,
    event_json,
    read_event,
)
from tests.conftest import NOW

TWO = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"


MEMBER = RecordedMember(name="c", peer_url="https://10.0.0.3:2380", member_id=0xF00)
AT = "2026-12-01T12:00:00Z"
LISTED = [{"name": "c", "peer_url": "https://10.0.0.3:2380", "member_id": "f00"}]

#: Each kind as a value, and the object that imagegen 0.1.0 wrote for it, keys in its order.
KINDS: list[tuple[Event, dict[str, Any]]] = [
    (
        SnapshotRestored(at=NOW, snapshot=Restored(sha256="ab", size=7, bump_revision=9)),
        {"at": AT, "event": "restored", "sha256": "ab", "size": 7, "bump_revision": 9},
    ),
    (
        MemberAdded(at=NOW, name="c", members=(MEMBER,)),
        {"at": AT, "event": "member-added", "name": "c", "members": LISTED},
    ),
    (
        MemberAdded(at=NOW, name="c", members=(MEMBER,), replaces=0xBAD),
        {"at": AT, "event": "member-added", "name": "c", "replaces": "bad", "members": LISTED},
    ),
    (MemberRemoved(at=NOW, name="c"), {"at": AT, "event": "member-removed", "name": "c"}),
    (MemberPromoted(at=NOW, name="c"), {"at": AT, "event": "member-promoted", "name": "c"}),
    (
        Seen(at=NOW, cluster_id=0xC, members=(MEMBER,), raft_term=1, raft_index=2, revision=3),
        {
            "kind": "status",
            "at": AT,
            "cluster_id": "c",
            "members": LISTED,
            "raft_term": 1,
            "raft_index": 2,
            "revision": 3,
        },
    ),
]


@pytest.mark.parametrize(("event", "entry"), KINDS)
def test_each_kind_is_written_as_ever_and_read_back(event, entry):
    """Byte for byte, so in the order of its keys: format 1 has not changed."""
    assert json.dumps(event_json(event)) == json.dumps(entry)
    assert read_event(entry) == event


@pytest.mark.parametrize(
    "entry", [{}, {"event": "member-moved"}, {"kind": "weather"}, {"event": []}]
)
def test_other_kinds_are_not_events_here(entry):
    assert read_event(entry) is None


@pytest.mark.parametrize(("event", "entry"), KINDS)
def test_an_object_without_one_of_its_values_is_an_error(event, entry):
    for key in entry.keys() - {"event", "kind", "replaces"}:
        with pytest.raises(ValueError, match=key):
            read_event({k: v for k, v in entry.items() if k != key})


def test_who_was_added_is_among_the_members():
    with pytest.raises(ValueError, match="c must be among them once"):
        MemberAdded(at=NOW, name="c", members=())
