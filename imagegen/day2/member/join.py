"""What `replace` and `add` share: a member comes in as a learner, with a seed, and gets its vote.

Each part begins from what the cluster and the store say, so a run that was
interrupted anywhere is completed by another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from imagegen.base.problems import ImagegenError, raise_errors
from imagegen.build.build import Built, build_cluster
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.build.package import package_members
from imagegen.build.prepare import prepare_from
from imagegen.cluster.cluster import hex_id
from imagegen.day2.member import hands as doing
from imagegen.day2.member.changes import Act, Subject, initial_members, version_problems
from imagegen.day2.member.hands import Hands
from imagegen.day2.member.plan import AGAIN, Plan, hands_of, look_at, resumable
from imagegen.documents.names import member_folder
from imagegen.documents.templates import Templates
from imagegen.live.client import ListedMember
from imagegen.store.events import MemberAdded, MemberPromoted
from imagegen.store.store import Store, Stored

#: Seconds between two attempts to promote.
ASK_EVERY = 2.0

#: Decides what is left to do for a member to belong to the cluster, with a vote.
Planner = Callable[[LoadedSpec, Stored, Hands], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """How far a member has come."""

    plan: Plan
    #: Its documents and seed; None where nothing was left to do.
    built: Built | None = None
    #: Where these are.
    folder: Path | None = None
    #: Whether it has a vote now; if not, it needs its machine first, and then another run.
    promoted: bool = False


def plan_joining(loaded: LoadedSpec, options: Options, planner: Planner) -> Plan:
    """What is left to do, after all that is to be made was made once in memory.

    Raises:
        ImagegenError: it must not be done, or what it needs cannot be made.
    """
    store = Store(options.pki, loaded.spec.cluster)
    return _planned(loaded, options, planner, store.existing(), hands_of(store))


def join(
    loaded: LoadedSpec,
    options: Options,
    planner: Planner,
    *,
    wait: float,
    say: Callable[[str], None],
    announce: Callable[[Plan], object],
    wrote: Callable[[Joined], object],
) -> Joined:
    """Take every step that is left, from wherever an earlier run came to."""
    store = Store(options.pki, loaded.spec.cluster)
    hands = hands_of(store, say=say)
    with store.opened() as stored:
        plan = _planned(loaded, options, planner, stored, hands)
        announce(plan)
        _change(store, hands, plan, options, stored)
    name = plan.subject.name
    if not plan.steps:
        _remember_vote(store, plan.subject, options)
        return Joined(plan=plan, promoted=True)
    # Of this member alone, and what the plan says: its seed is to be another.
    built = build_cluster(loaded, replace(options, members=(name,), force=True))
    member = next(m for m in built.cluster.members if m.name == name)
    joined = Joined(plan=plan, built=built, folder=built.directory / member_folder(name))
    wrote(joined)
    if not _promoted(hands, loaded, store, name, member.member_id, wait):
        return joined
    _remember_vote(store, plan.subject, options)
    return replace(joined, promoted=True)


def _planned(
    loaded: LoadedSpec, options: Options, planner: Planner, stored: Stored, hands: Hands
) -> Plan:
    plan = planner(loaded, stored, hands)
    if Act.ADD in {step.act for step in plan.steps}:
        _rehearse(loaded, replace(options, members=(plan.subject.name,)), stored, plan)
    return plan


def _rehearse(loaded: LoadedSpec, options: Options, stored: Stored, plan: Plan) -> None:
    """Make all that is to be made once, in memory: what cannot be made is not begun."""
    view, subject = plan.view, plan.subject
    raise_errors(version_problems(loaded.spec, view))
    gone = {step.member_id for step in plan.steps}
    new = ListedMember(
        member_id=1, name="", peer_urls=(subject.peer_url,), client_urls=(), is_learner=True
    )
    listed = (*(m for m in view.members if m.member_id not in gone), new)
    members = initial_members(subject, 1, listed, stored.record)
    record = stored.record.after(MemberAdded(at=options.now, name=subject.name, members=members))
    prepared = prepare_from(loaded, options, replace(stored, record=record))
    package_members(prepared, options, Templates(options.templates))


def _change(store: Store, hands: Hands, plan: Plan, options: Options, stored: Stored) -> None:
    """What changes the cluster's list, and its record in the store."""
    view, subject = plan.view, plan.subject
    for step in plan.steps:
        with resumable():
            if step.act is Act.MOVE_LEADER:
                doing.move_leader(hands, view, step)
            elif step.act is Act.REMOVE:
                doing.remove(hands, view, step)
            elif step.act in (Act.ADD, Act.ADOPT):
                gone = {s.member_id for s in plan.steps if s.act is Act.REMOVE}
                number, listed = (
                    doing.add(hands, view, subject)
                    if step.act is Act.ADD
                    else (step.member_id, tuple(m for m in view.members if m.member_id not in gone))
                )
                members = initial_members(subject, number, listed, stored.record)
                store.observe(
                    MemberAdded(
                        at=options.now,
                        name=subject.name,
                        members=members,
                        replaces=subject.known_id,
                    )
                )


def _promoted(
    hands: Hands, loaded: LoadedSpec, store: Store, name: str, number: int, wait: float
) -> bool:
    """Give the member its vote once it has started and caught up; False if it has not in time."""
    end = time.monotonic() + wait
    record = store.existing().record
    said = ""
    while True:
        try:
            with resumable():
                view = look_at(hands, loaded.spec, record)
                listed = next((m for m in view.members if m.member_id == number), None)
                if listed is None:
                    raise ImagegenError("was taken off the cluster's list", where=name, hint=AGAIN)
                if not listed.is_learner:
                    return True
                reason = f"{name} has not started yet"
                if listed.client_urls and number not in view.statuses:
                    # etcd would promote it all the same, and count on its vote.
                    reason = (
                        f"{name} does not answer: {view.why_down(listed)}; if its disk is lost "
                        f"as well: imagegen member replace --id {hex_id(number)}"
                    )
                elif listed.client_urls:
                    if doing.promote(hands, view.ask(), number):
                        return True
                    reason = f"{name} has not caught up yet"
        except ImagegenError as error:
            if time.monotonic() >= end:
                raise
            reason = error.problems[0].what
        if reason != said:
            hands.say(reason)
            said = reason
        if time.monotonic() >= end:
            return False
        hands.sleep(ASK_EVERY)


def _remember_vote(store: Store, subject: Subject, options: Options) -> None:
    with store.opened() as stored:
        joined = stored.record.joined.get(subject.name)
        if joined and not joined.promoted:
            store.observe(MemberPromoted(at=options.now, name=subject.name))
