"""Saving all that a running cluster holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagegen.base.problems import ImagegenError
from imagegen.build.snapshot_file import Snapshot, write_snapshot
from imagegen.cluster.cluster import hex_id
from imagegen.day2.member.plan import hands_of, look_at, recorded_members
from imagegen.live.client import Status
from imagegen.spec.model import Spec
from imagegen.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The member that a snapshot is to come from, as it answered."""

    url: str
    status: Status
    #: The cluster's members by name; an ID where one has none yet.
    members: tuple[str, ...]
    #: Whether they are those of the record, because only this member was asked.
    as_recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A snapshot that is whole and on the disk, and where it came from."""

    snapshot: Snapshot
    source: Source


def choose_source(spec: Spec, pki: Path, *, name: str | None = None) -> Source:
    """Which member to ask: the one called ``name``, else one that does not lead, if there is one.

    A member that is named needs no quorum. ``pki`` is the root of the stores.

    Raises:
        ImagegenError: there is no such member, it does not answer, or it is of
            another cluster.
    """
    store = Store(pki, spec.cluster)
    record = store.existing().record
    hands = hands_of(store)
    if name is None:
        view = look_at(hands, spec, record)
        followers = sorted(view.healthy - {view.leader}) or sorted(view.healthy)
        chosen = max(followers, key=lambda number: view.statuses[number].raft_index)
        return Source(
            url=view.urls[chosen],
            status=view.statuses[chosen],
            members=tuple(sorted(m.name or hex_id(m.member_id) for m in view.members)),
            as_recorded=False,
        )
    urls = {member.name: member.client_url for member in recorded_members(spec, record)}
    if name not in urls:
        raise ImagegenError(
            f"--from: {name} is no member", hint=f"members: {', '.join(sorted(urls))}"
        )
    url = urls[name]
    status = hands.caller.status(url)
    if status.cluster_id != record.cluster_id:
        raise ImagegenError(
            f"belongs to cluster {hex_id(status.cluster_id)}, not {hex_id(record.cluster_id)}",
            where=url,
        )
    members = tuple(sorted(record.present))
    return Source(url=url, status=status, members=members, as_recorded=True)


def save_snapshot(spec: Spec, pki: Path, file: Path, *, name: str | None = None) -> Saved:
    """Save the cluster's data into ``file``, which has its name only once it is whole.

    The source is chosen as by :func:`choose_source`.

    Raises:
        ImagegenError: nobody can be asked, what came is not whole, or the file
            exists or cannot be written.
    """
    source = choose_source(spec, pki, name=name)
    pieces = hands_of(Store(pki, spec.cluster)).caller.snapshot(source.url)
    return Saved(snapshot=write_snapshot(pieces, file, source=source.url), source=source)
