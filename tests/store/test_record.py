"""imagegen.store.record: what is kept of a cluster, and what is not lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from imagegen.cluster.cluster import RecordedMember
from imagegen.store.events import (
    MemberAdded,
    MemberPromoted,
    MemberRemoved,
    event_json,
)
from imagegen.store.record import Record, record_of
from tests.conftest import NOW, make_cluster

TWO = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"


def test_the_record_is_what_the_cluster_was_bootstrapped_with():
    cluster = make_cluster(TWO, token="t")
    document = json.loads(record_of(cluster).to_json())
    assert document["format"] == 1
    assert document["cluster"] == "c"
    assert document["token"] == "t"
    assert document["created"] == "2026-12-01T12:00:00Z"
    assert document["cluster_id"] == f"{cluster.cluster_id:x}"
    assert document["members"] == [
        {"name": m.name, "peer_url": m.peer_url, "member_id": f"{m.member_id:x}"}
        for m in cluster.members
    ]
    assert document["observed"] == []


def recorded(*entries: Any) -> str:
    """The text of a record with these events."""
    return replace(record_of(make_cluster(TWO, token="t")), observed=entries).to_json()


def test_an_event_of_a_kind_that_this_version_does_not_know_stays():
    """A later version may write others; this one hands them back byte for byte."""
    removed = event_json(MemberRemoved(at=NOW, name="b"))
    text = recorded({"event": "member-moved", "where": ["x"]}, removed, {"revision": 7})
    record = Record.from_json(text)
    assert list(record.present) == ["a"]
    assert record.events == (MemberRemoved(at=NOW, name="b"),)
    assert record.to_json() == text


def test_what_a_known_event_has_beside_what_is_known_stays_too():
    entry = event_json(MemberRemoved(at=NOW, name="b")) | {"why": "moved away"}
    text = recorded(entry)
    assert Record.from_json(text).to_json() == text
    promoted = Record.from_json(text).after(MemberRemoved(at=NOW, name="a"))
    assert promoted.observed[0] == entry


def test_events_say_who_belongs():
    c = RecordedMember(name="c", peer_url="https://10.0.0.3:2380", member_id=3)
    record = record_of(make_cluster(TWO, token="t"))
    grown = record.after(MemberAdded(at=NOW, name="c", members=(*record.members, c)))
    assert list(grown.present) == ["a", "b", "c"]
    assert not grown.joined["c"].promoted
    assert grown.after(MemberPromoted(at=NOW, name="c")).joined["c"].promoted
    gone = grown.after(MemberRemoved(at=NOW, name="c"))
    assert (gone.present, gone.joined) == (record.present, {})
    again = gone.after(MemberAdded(at=NOW, name="c", members=(*record.members, c)))
    assert again.joined["c"].earlier == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"at": "2026-12-01T12:00:00Z", "event": "member-added", "name": "d", "members": []},
        {"at": "2026-12-01T12:00:00Z", "event": "member-added", "name": "d"},
        {"at": "2026-12-01T12:00:00Z", "event": "member-removed", "name": "z"},
        {"at": "2026-12-01T12:00:00Z", "event": "member-removed", "name": 1},
        {"at": "2026-12-01T12:00:00Z", "event": "member-promoted", "name": "a"},
        {"at": "yesterday", "event": "member-removed", "name": "a"},
        {"event": "restored", "at": "2026-12-01T12:00:00Z", "sha256": "00", "size": "1"},
        {"kind": "status", "at": "2026-12-01T12:00:00Z", "cluster_id": "xyz"},
        "nonsense",
    ],
)
def test_events_that_do_not_fit(entry):
    """A record that was edited by hand is damaged, not a surprise."""
    with pytest.raises(ValueError, match="observed"):
        Record.from_json(recorded(entry))
