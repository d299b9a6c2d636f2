"""The record of a cluster: what it was bootstrapped with, and what happened to it since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from imagegen._version import __version__
from imagegen.base.instants import format_instant, parse_instant
from imagegen.cluster.cluster import Cluster, Joined, RecordedMember, Restored, hex_id
from imagegen.store.events import (
    Event,
    MemberAdded,
    MemberPromoted,
    MemberRemoved,
    SnapshotRestored,
    appended,
    event_json,
    read_event,
)
from imagegen.store.record_format import FORMAT, id_in, members_in, members_json, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the cluster was bootstrapped with; what happened to it since is ``observed``.

    ``members`` are those of the bootstrap for ever; who belongs to the cluster
    now follows from them and the events. ``observed`` are the events as JSON
    objects, so that those that only another version knows are kept as well.
    """

    cluster: str
    store_id: str
    token: str
    created: datetime
    cluster_id: int
    members: tuple[RecordedMember, ...]
    imagegen_version: str
    observed: tuple[Mapping[str, Any], ...] = ()

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened since the bootstrap, as far as this version knows its kind.

        Raises:
            ValueError: an event does not have what its kind must have.
        """
        return tuple(event for event in map(read_event, self.observed) if event is not None)

    def after(self, event: Event) -> Record:
        """The record with one more event; the same record where that is not news."""
        observed = appended(self.observed, event)
        return self if observed == self.observed else replace(self, observed=observed)

    @property
    def present(self) -> dict[str, RecordedMember]:
        """Who belongs to the cluster now, by name."""
        return self._after_changes()[0]

    @property
    def joined(self) -> dict[str, Joined]:
        """How those who were not there at the bootstrap came in, by name."""
        return self._after_changes()[1]

    @property
    def restored(self) -> Restored | None:
        """The snapshot it began with, if it did not begin empty."""
        found = (event.snapshot for event in self.events if isinstance(event, SnapshotRestored))
        return next(found, None)

    def _after_changes(self) -> tuple[dict[str, RecordedMember], dict[str, Joined]]:
        present = {member.name: member for member in self.members}
        lives = dict.fromkeys(present, 1)
        joined: dict[str, Joined] = {}
        for event in self.events:
            if isinstance(event, MemberAdded):
                present[event.name] = event.member
                earlier = lives.get(event.name, 0)
                lives[event.name] = earlier + 1
                joined[event.name] = Joined(
                    member_id=event.member.member_id, members=event.members, earlier=earlier
                )
            elif isinstance(event, MemberRemoved):
                present.pop(event.name)
                joined.pop(event.name, None)
            elif isinstance(event, MemberPromoted):
                joined[event.name] = replace(joined[event.name], promoted=True)
        return present, joined

    def to_json(self) -> str:
        """The text of ``cluster.json``, IDs as etcdctl prints them."""
        document = {
            "format": FORMAT,
            "cluster": self.cluster,
            "store_id": self.store_id,
            "token": self.token,
            "created": format_instant(self.created),
            "cluster_id": hex_id(self.cluster_id),
            "members": members_json(self.members),
            "imagegen_version": self.imagegen_version,
            "observed": list(self.observed),
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record in ``text``; ValueError says what is wrong with it."""
        document = json.loads(text)
        known = document.get("format") if isinstance(document, dict) else None
        if known != FORMAT:
            raise ValueError(f"format is {known!r}; this imagegen knows {FORMAT}")
        record = cls(
            cluster=value_of(document, "cluster", str),
            store_id=value_of(document, "store_id", str),
            token=value_of(document, "token", str),
            created=parse_instant(value_of(document, "created", str)),
            cluster_id=id_in(document, "cluster_id"),
            members=members_in(document),
            imagegen_version=value_of(document, "imagegen_version", str),
            observed=tuple(value_of(document, "observed", list)),
        )
        if unknown := document.keys() - {"format"} - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        try:
            _ = record.present, record.restored
        except (AttributeError, KeyError, ValueError):
            raise ValueError("observed: its events do not fit together") from None
        return record


def record_of(cluster: Cluster, previous: Record | None = None) -> Record:
    """The record to keep: ``previous`` for as long as it is the same cluster."""
    if previous is not None and previous.store_id == cluster.identity.store_id:
        return previous
    return Record(
        cluster=cluster.name,
        store_id=cluster.identity.store_id,
        token=cluster.token,
        created=cluster.identity.created,
        cluster_id=cluster.cluster_id,
        members=tuple(
            RecordedMember(name=m.name, peer_url=m.peer_url, member_id=m.member_id)
            for m in cluster.members
        ),
        imagegen_version=__version__,
        observed=tuple(_first_events(cluster)),
    )


def _first_events(cluster: Cluster) -> Iterator[Mapping[str, Any]]:
    """What there is to say of a cluster before it has run."""
    if snapshot := cluster.identity.restored:
        yield event_json(SnapshotRestored(at=cluster.identity.created, snapshot=snapshot))
