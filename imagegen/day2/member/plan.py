"""From a spec, a store and what the members answer to a plan of a change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, Identity, Member
from imagegen.day2.member.changes import Step, Subject
from imagegen.day2.member.hands import Hands
from imagegen.day2.member.view import View, look
from imagegen.live.client import RefusedError, UnreachableError, caller_of
from imagegen.spec.model import Spec
from imagegen.store.record import Record
from imagegen.store.store import Store

#: Every step looks at the cluster first, so this is the way out of any interruption.
AGAIN = "what was done counts; run this again: it looks at the cluster and goes on from there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to do for one member, decided on what the members answered.

    Without ``steps`` nothing is left.
    """

    subject: Subject
    view: View
    steps: tuple[Step, ...]


def quiet(_: str) -> None:
    """Say nothing."""


def hands_of(
    store: Store,
    *,
    say: Callable[[str], None] = quiet,
    sleep: Callable[[float], None] = time.sleep,
) -> Hands:
    """The store's client; ``say`` is told what was done, ``sleep`` waits so many seconds."""
    return Hands(caller=caller_of(store.path), say=say, sleep=sleep)


def recorded_members(spec: Spec, record: Record) -> list[Member]:
    """The members of the spec that belong to the cluster."""
    return [m for m in _cluster(spec, record).members if m.name in record.present]


def look_at(hands: Hands, spec: Spec, record: Record) -> View:
    """The cluster as its members answer.

    Raises:
        ProblemsError: as :func:`imagegen.day2.member.view.look`.
    """
    urls = [member.client_url for member in recorded_members(spec, record)]
    return look(hands.caller, urls, record.cluster_id, sleep=hands.sleep)


def subject_in(record: Record, name: str, peer_url: str) -> Subject:
    """The member at this peer URL, as the record knows it."""
    known = record.present.get(name)
    return Subject(
        name=name,
        peer_url=peer_url,
        known_id=known.member_id if known else None,
        joined=name in record.joined,
    )


def subject_of(spec: Spec, record: Record, name: str) -> Subject:
    """The member as the spec wants it.

    Raises:
        ImagegenError: the spec has no such member.
    """
    members = {member.name: member for member in _cluster(spec, record).members}
    if name not in members:
        raise ImagegenError("is not in the spec", where=name, hint=f"members: {', '.join(members)}")
    return subject_in(record, name, members[name].peer_url)


def _cluster(spec: Spec, record: Record) -> Cluster:
    identity = Identity(store_id="", token=record.token, created=record.created)
    return Cluster(spec=spec, identity=identity)


@contextmanager
def resumable() -> Iterator[None]:
    """Add the way on to what etcd refuses, or does not answer."""
    try:
        yield
    except (RefusedError, UnreachableError) as error:
        problem = error.problems[0]
        raise ImagegenError(problem.what, where=problem.where, hint=AGAIN) from None
