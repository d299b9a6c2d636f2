"""The record of a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from imagegen._version import __version__
from imagegen.cluster.cluster import Cluster, Identity, Joined, RecordedMember, Restored, hex_id

FORMAT = 1

#: Entries of ``observed`` that say who belongs to the cluster since its bootstrap, by "event".
ADDED, REMOVED, PROMOTED = "member-added", "member-removed", "member-promoted"
#: The entry of ``observed`` about the snapshot a cluster began with, its first.
RESTORED = "restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the cluster was bootstrapped with; what it later reported is ``observed``.

    ``members`` are those of the bootstrap for ever; who belongs to the cluster
    now follows from them and the changes that were observed.
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
        for entry in self.observed:
            if entry.get("event") == RESTORED:
                return Restored(
                    sha256=str(entry["sha256"]),
                    size=int(entry["size"]),
                    bump_revision=int(entry["bump_revision"]),
                )
        return None

    def _after_changes(self) -> tuple[dict[str, RecordedMember], dict[str, Joined]]:
        present = {member.name: member for member in self.members}
        lives = dict.fromkeys(present, 1)
        joined: dict[str, Joined] = {}
        for entry in self.observed:
            name, event = entry.get("name"), entry.get("event")
            if event == ADDED:
                members = tuple(_recorded_member(dict(m)) for m in entry["members"])
                [member] = [m for m in members if m.name == name]
                present[member.name] = member
                earlier = lives.get(member.name, 0)
                lives[member.name] = earlier + 1
                joined[member.name] = Joined(
                    member_id=member.member_id, members=members, earlier=earlier
                )
            elif event == REMOVED:
                present.pop(entry["name"])
                joined.pop(entry["name"], None)
            elif event == PROMOTED:
                joined[entry["name"]] = replace(joined[entry["name"]], promoted=True)
        return present, joined

    def to_json(self) -> str:
        """The text of ``cluster.json``, IDs as etcdctl prints them."""
        document = {
            "format": FORMAT,
            "cluster": self.cluster,
            "store_id": self.store_id,
            "token": self.token,
            "created": self.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
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
        del document["format"]
        record = cls(
            cluster=_taken(document, "cluster", str),
            store_id=_taken(document, "store_id", str),
            token=_taken(document, "token", str),
            created=_instant(_taken(document, "created", str)),
            cluster_id=_id(_taken(document, "cluster_id", str)),
            members=tuple(map(_recorded_member, _taken(document, "members", list))),
            imagegen_version=_taken(document, "imagegen_version", str),
            observed=tuple(_taken(document, "observed", list)),
        )
        if document:
            raise ValueError(f"unknown: {', '.join(document)}")
        try:
            _ = record.present, record.restored
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("observed: its events do not fit together") from None
        return record


def members_json(members: Iterable[RecordedMember]) -> list[dict[str, str]]:
    """Members as the record keeps them."""
    return [
        {"name": m.name, "peer_url": m.peer_url, "member_id": hex_id(m.member_id)} for m in members
    ]


def _recorded_member(item: Any) -> RecordedMember:
    if not isinstance(item, dict) or set(item) != {"name", "peer_url", "member_id"}:
        raise ValueError("members: each has name, peer_url and member_id")
    return RecordedMember(
        name=_taken(item, "name", str),
        peer_url=_taken(item, "peer_url", str),
        member_id=_id(_taken(item, "member_id", str)),
    )


def _taken(document: dict[str, Any], key: str, kind: type) -> Any:
    value = document.pop(key, None)
    if not isinstance(value, kind):
        raise ValueError(f"{key} is missing or of the wrong type")  # noqa: TRY004  # all faults are one kind
    return value


def _id(text: str) -> int:
    if not re.fullmatch("[0-9a-f]{1,16}", text):
        raise ValueError(f"{text!r} is no etcd ID")
    return int(text, 16)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


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
        observed=tuple(_events_of(cluster.identity)),
    )


def _events_of(identity: Identity) -> Iterator[Mapping[str, Any]]:
    """What there is to say of a cluster before it has run."""
    if restored := identity.restored:
        at = identity.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield {
            "at": at,
            "event": RESTORED,
            "sha256": restored.sha256,
            "size": restored.size,
            "bump_revision": restored.bump_revision,
        }
