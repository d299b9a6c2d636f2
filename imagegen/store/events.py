"""The events of a record: what happened to a cluster, in the order in which it happened.

The record keeps each event as one JSON object (format 1). :func:`read_event` and
:func:`event_json` are the only two that know how. An object of a kind that this
version does not know stays in the record as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from imagegen.base.instants import format_instant, parse_instant
from imagegen.cluster.cluster import RecordedMember, Restored, hex_id
from imagegen.store.record_format import id_in, members_in, members_json, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRestored:
    """The cluster began with the data of a snapshot; always the first event."""

    KIND: ClassVar = "restored"

    at: datetime
    snapshot: Restored


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAdded:
    """The cluster listed a new member, as a learner.

    ``members`` are all that it listed then, the new one too. ``replaces`` is the
    ID of the member that had the name before.

    Raises:
        ValueError: ``members`` do not have exactly one member of this name.
    """

    KIND: ClassVar = "member-added"

    at: datetime
    name: str
    members: tuple[RecordedMember, ...]
    replaces: int | None = None

    def __post_init__(self) -> None:
        if [member.name for member in self.members].count(self.name) != 1:
            raise ValueError(f"members: {self.name} must be among them once")

    @property
    def member(self) -> RecordedMember:
        """The new member."""
        return next(member for member in self.members if member.name == self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRemoved:
    """The operator took a member out of the cluster for good."""

    KIND: ClassVar = "member-removed"

    at: datetime
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPromoted:
    """A learner got its vote."""

    KIND: ClassVar = "member-promoted"

    at: datetime
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a cluster with a quorum said of itself when it was asked for its status.

    ``members`` are those it listed; ``peer_url`` holds all peer URLs of a member,
    with commas between them. The numbers are the highest that any member said.
    """

    KIND: ClassVar = "status"
    #: Numbers that only ever grow: the record keeps the highest.
    COUNTERS: ClassVar = ("raft_term", "raft_index", "revision")

    at: datetime
    cluster_id: int
    members: tuple[RecordedMember, ...]
    raft_term: int
    raft_index: int
    revision: int


Event: TypeAlias = SnapshotRestored | MemberAdded | MemberRemoved | MemberPromoted | Seen


def event_json(event: Event) -> dict[str, Any]:
    """An event as the record keeps it."""
    at = format_instant(event.at)
    if isinstance(event, Seen):
        return {
            "kind": event.KIND,
            "at": at,
            "cluster_id": hex_id(event.cluster_id),
            "members": members_json(event.members),
            **{key: getattr(event, key) for key in event.COUNTERS},
        }
    entry: dict[str, Any] = {"at": at, "event": event.KIND}
    if isinstance(event, SnapshotRestored):
        snapshot = event.snapshot
        return entry | {
            "sha256": snapshot.sha256,
            "size": snapshot.size,
            "bump_revision": snapshot.bump_revision,
        }
    entry["name"] = event.name
    if isinstance(event, MemberAdded):
        if event.replaces is not None:
            entry["replaces"] = hex_id(event.replaces)
        entry["members"] = members_json(event.members)
    return entry


def read_event(entry: Mapping[str, Any]) -> Event | None:
    """The event in an object of the record; None where its kind is not known here.

    Raises:
        ValueError: the object does not have what an event of its kind must have.
    """
    if entry.get("kind") == Seen.KIND:
        return Seen(
            at=_at(entry),
            cluster_id=id_in(entry, "cluster_id"),
            members=members_in(entry),
            **{key: value_of(entry, key, int) for key in Seen.COUNTERS},
        )
    match entry.get("event"):
        case SnapshotRestored.KIND:
            snapshot = Restored(
                sha256=value_of(entry, "sha256", str),
                size=value_of(entry, "size", int),
                bump_revision=value_of(entry, "bump_revision", int),
            )
            return SnapshotRestored(at=_at(entry), snapshot=snapshot)
        case MemberAdded.KIND:
            return MemberAdded(
                at=_at(entry),
                name=value_of(entry, "name", str),
                members=members_in(entry),
                replaces=id_in(entry, "replaces") if "replaces" in entry else None,
            )
        case MemberRemoved.KIND:
            return MemberRemoved(at=_at(entry), name=value_of(entry, "name", str))
        case MemberPromoted.KIND:
            return MemberPromoted(at=_at(entry), name=value_of(entry, "name", str))
    return None


def _at(entry: Mapping[str, Any]) -> datetime:
    return parse_instant(value_of(entry, "at", str))


def appended(
    observed: tuple[Mapping[str, Any], ...], event: Event
) -> tuple[Mapping[str, Any], ...]:
    """A record's objects with one more event, where it is news.

    An event that says what the last one says, at another time, is not news. Of a
    status that differs from the last one in its counters alone, those that have
    risen are raised in place: whoever asks every minute must not grow the record.
    """
    entry = event_json(event)
    counters = event.COUNTERS if isinstance(event, Seen) else ()
    last = observed[-1] if observed else {}
    changed = {key for key in last.keys() | entry.keys() if last.get(key) != entry.get(key)}
    if not last or changed - {"at", *counters}:
        return (*observed, entry)
    raised = [key for key in changed - {"at"} if entry.get(key, 0) > last.get(key, 0)]
    news = {key: entry[key] for key in (*raised, "at") if key in entry}
    return (*observed[:-1], {**last, **news}) if raised else observed
