"""What is to be done to change who belongs to a running cluster, one member at a time.

The order is etcd's own advice (etcd.io, runtime-configuration and FAQ): what is
lost is removed first, for a member that is listed and away counts against the
quorum; the new one comes as a learner, without a vote, and gets it once it has
caught up. What is to do next follows from what the cluster lists, so a change
that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from imagegen.base.problems import Problem, ProblemsError
from imagegen.cluster.cluster import RecordedMember, hex_id
from imagegen.day2.member.view import View
from imagegen.etcd.variables import Version
from imagegen.etcd.versions import CORRUPTING, corrupts, hop_problems
from imagegen.live.client import ListedMember
from imagegen.spec.model import Spec
from imagegen.store.record import Record


class Act(StrEnum):
    """One step of a change."""

    MOVE_LEADER = "move-leader"
    REMOVE = "remove"
    ADD = "add"
    #: Remember what the cluster lists already: an earlier run came no further.
    ADOPT = "adopt"
    WAIT = "wait"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, with the member it is about (its ID is 0 before it has one) and why."""

    act: Act
    member_id: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The member a change is about: as the spec wants it, and as the record knows it."""

    name: str
    peer_url: str
    known_id: int | None
    #: Whether the record knows how it came into the running cluster.
    joined: bool

    def is_it(self, listed: ListedMember) -> bool:
        """Whether the cluster's entry is about it; one that never started has no name."""
        return (
            listed.member_id == self.known_id
            or listed.name == self.name
            or self.peer_url in listed.peer_urls
        )


def plan_replace(view: View, subject: Subject, lost: int | None = None) -> tuple[Step, ...]:
    """What is left to do to replace a member whose machine or disk is lost.

    ``lost`` is the ID of a member to replace although it answers, or although
    it is the learner of an earlier replacement. Nothing left: it is replaced.

    Raises:
        ProblemsError: with why it must not be done.
    """
    mine = [member for member in view.members if subject.is_it(member)]
    problems = list(_others_in_change(view, mine))
    problems += [
        Problem(
            where=subject.name,
            what=f"{hex_id(member.member_id)} is {member.name or 'another member'}",
            hint="--id names a member of that name",
        )
        for member in view.members
        if member.member_id == lost and member not in mine
    ]
    steps: list[Step] = []
    stays: ListedMember | None = None
    for member in mine:
        why = _why_replace(view, subject, member, lost)
        if why is None:
            stays = member
            continue
        if not why:
            problems.append(
                Problem(
                    where=subject.name,
                    what=f"member {hex_id(member.member_id)} answers, so it is not lost",
                    hint="if it is to be replaced all the same: "
                    f"--id {hex_id(member.member_id)}; its data is then thrown away",
                )
            )
            continue
        problems += _removal_problems(view, member)
        steps += _removal(view, member, why)
    if problems:
        raise ProblemsError(problems)
    return (*steps, *_joining(subject, stays))


def _why_replace(
    view: View, subject: Subject, member: ListedMember, lost: int | None
) -> str | None:
    """Why an entry of the member's has to go; None if it stays, empty if it may not go."""
    if member.member_id == lost:
        return "it is given by --id"
    if member.is_learner:
        return None
    if member.member_id not in view.statuses:
        return f"it is lost: {view.why_down(member)}"
    return None if subject.joined and member.member_id == subject.known_id else ""


def plan_add(view: View, subject: Subject) -> tuple[Step, ...]:
    """What is left to do for a new member to belong to the cluster.

    Raises:
        ProblemsError: with why it must not be done.
    """
    mine = [member for member in view.members if subject.is_it(member)]
    problems = list(_others_in_change(view, mine))
    problems += [
        Problem(
            where=subject.name,
            what=f"the cluster has a member {hex_id(member.member_id)} of this name or at this "
            "peer URL, and the record does not know it",
            hint="remove it (etcdctl member remove), or choose another name and address",
        )
        for member in mine
        if not member.is_learner and not (subject.joined and member.member_id == subject.known_id)
    ]
    if not mine:
        problems += [
            Problem(
                where=member.name or hex_id(member.member_id),
                what=f"does not run: {view.why_down(member)}",
                hint="a cluster grows only while all its members run: start it, or "
                "imagegen member replace",
            )
            for member in view.voters
            if member.member_id not in view.healthy
        ]
    if problems:
        raise ProblemsError(problems)
    return tuple(_joining(subject, mine[0] if mine else None))


def plan_remove(view: View, subject: Subject) -> tuple[Step, ...]:
    """What is left to do for a member not to belong to the cluster any more.

    Raises:
        ProblemsError: with why it must not be done.
    """
    mine = [member for member in view.members if subject.is_it(member)]
    problems = list(_others_in_change(view, mine))
    steps: list[Step] = []
    for member in mine:
        problems += _removal_problems(view, member)
        steps += _removal(view, member, "it is to leave the cluster")
    if problems:
        raise ProblemsError(problems)
    return tuple(steps)


def _others_in_change(view: View, mine: Sequence[ListedMember]) -> Iterator[Problem]:
    """One change at a time: nobody else may be on the way in."""
    for member in view.members:
        if member not in mine and (member.is_learner or not member.client_urls):
            what = "is a learner" if member.is_learner else "has never started"
            yield Problem(
                where=member.name or ", ".join(member.peer_urls),
                what=f"member {hex_id(member.member_id)} {what}: another change is under way",
                hint="one at a time: finish it (imagegen member replace or add with that name, or "
                "boot its machine), or take it back (imagegen member remove)",
            )


def _removal_problems(view: View, gone: ListedMember) -> Iterator[Problem]:
    """Whether enough others run for the cluster to go on without this one."""
    if gone.is_learner:
        return
    left = [member for member in view.voters if member != gone]
    down = [member for member in left if member.member_id not in view.healthy]
    needed = len(left) // 2 + 1
    if not left:
        yield Problem(
            where=gone.name,
            what="is the only member that has a vote",
            hint="its data would be gone with it; add another first",
        )
    elif len(left) - len(down) < needed:
        yield Problem(
            where=gone.name,
            what=f"without it the cluster needs {needed} of {len(left)} members, and only "
            f"{len(left) - len(down)} run; "
            + "; ".join(f"{m.name or hex_id(m.member_id)}: {view.why_down(m)}" for m in down),
            hint="removing it would cost the quorum for good: start the others first",
        )


def _removal(view: View, member: ListedMember, why: str) -> Iterator[Step]:
    heirs = view.healthy - {member.member_id}
    if member.member_id == view.leader and heirs:
        heir = max(heirs, key=lambda number: view.statuses[number].raft_index)
        yield Step(act=Act.MOVE_LEADER, member_id=heir, why="the leader is to go")
    yield Step(act=Act.REMOVE, member_id=member.member_id, why=why)


def _joining(subject: Subject, listed: ListedMember | None) -> Iterator[Step]:
    """From wherever the new member is to its vote."""
    if listed is None:
        yield Step(act=Act.ADD)
        yield Step(act=Act.WAIT)
    elif listed.is_learner:
        number = listed.member_id
        if not (subject.joined and number == subject.known_id):
            yield Step(act=Act.ADOPT, member_id=number, why="an earlier run has added it")
        # Not before its start is known to the others: first boot relies on it.
        if not listed.client_urls:
            yield Step(act=Act.WAIT, member_id=number)
    else:
        return
    yield Step(act=Act.PROMOTE, member_id=listed.member_id if listed else 0)


def version_problems(spec: Spec, view: View) -> Iterator[Problem]:
    """Why the etcd that the spec says must not join those that run.

    A spec need not say; then nothing is known, and nobody is held up.
    """
    new = spec.etcd_version
    install = spec.install
    if not (
        spec.etcd.version or install.release_version or install.pinned_etcd or spec.distribution
    ):
        return
    if corrupts(new):
        # The spec takes no such release, so it is a branch, "3.5".
        new = new._replace(patch=CORRUPTING[1].patch + 1)
    names = {member.member_id: member.name for member in view.members}
    running = {
        names.get(number) or hex_id(number): Version.parse(status.version)
        for number, status in view.statuses.items()
        if not status.is_learner
    }
    for what, hint in hop_problems(running, new):
        yield Problem(where="etcd.version", what=what, hint=hint)


def initial_members(
    subject: Subject, member_id: int, listed: Iterable[ListedMember], record: Record
) -> tuple[RecordedMember, ...]:
    """Whom a new member is to be told of: exactly those listed, itself too.

    etcd compares the peer URLs and their number with what it finds, not the
    names; one that never started has its name from the record.
    """
    names = {member.peer_url: member.name for member in record.present.values()}
    members = []
    for member in listed:
        url = member.peer_urls[0]
        own = member.member_id == member_id
        name = subject.name if own else member.name or names.get(url) or hex_id(member.member_id)
        members.append(RecordedMember(name=name, peer_url=url, member_id=member.member_id))
    return tuple(sorted(members, key=lambda member: member.name))
