"""Who belongs to a running cluster: looking at it, and changing it by one member at a time.

The order is etcd's own advice (etcd.io, runtime-configuration and FAQ): what is
lost is removed first, for a member that is listed and away counts against the
quorum; the new one comes as a learner, without a vote, and gets it once it has
caught up. What is to do next follows from what the cluster lists, so a change
that was interrupted goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from imagegen.base.problems import ImagegenError, Problem, ProblemsError
from imagegen.cluster.cluster import RecordedMember, hex_id
from imagegen.etcd.variables import Version
from imagegen.etcd.versions import CORRUPTING, corrupts, hop_problems
from imagegen.live.client import Caller, ListedMember, RefusedError, Status, UnreachableError
from imagegen.spec.model import Spec
from imagegen.store.record import Record

T = TypeVar("T")

#: Seconds for members to agree on who leads, and on who they are: a lagging one of etcd 3.4
#: answers from memory.
AGREE = 10.0
#: Seconds: etcd takes no change before all its connections have stood for five.
SETTLE = 30.0


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
class View:
    """A cluster as its members answered: whom they list, and how each is.

    ``troubles`` says by client URL why there was no answer, or not a good one.
    """

    cluster_id: int
    members: tuple[ListedMember, ...]
    statuses: Mapping[int, Status]
    urls: Mapping[int, str]
    healthy: frozenset[int]
    troubles: Mapping[str, str]

    @property
    def voters(self) -> tuple[ListedMember, ...]:
        """The members whose votes count."""
        return tuple(member for member in self.members if not member.is_learner)

    @property
    def leader(self) -> int:
        """The leader's ID; a view is of a cluster that has one."""
        return next(self.statuses[number].leader for number in self.healthy)

    def ask(self, *, but: int = 0) -> str:
        """Where to ask for changes: the leader, or else any other than ``but`` that is well."""
        others = sorted(self.healthy - {but})
        return self.urls[self.leader if self.leader in others else others[0]]

    def why_down(self, member: ListedMember) -> str:
        """Why a member does not count as running."""
        said = [self.troubles[url] for url in member.client_urls if url in self.troubles]
        return said[0] if said else "it has never started"


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


# --- looking --------------------------------------------------------------------------


def look(
    caller: Caller, urls: Iterable[str], cluster_id: int, *, sleep: Callable[[float], None]
) -> View:
    """Ask everybody, those too that only the cluster lists.

    Raises:
        ProblemsError: with why each member is of no use, if none has a quorum or
            one is of another cluster; or that they do not agree.
    """
    end = time.monotonic() + AGREE
    asked = dict.fromkeys(urls)
    while True:
        with ThreadPoolExecutor(max(len(asked), 1)) as pool:
            answers = dict(zip(asked, pool.map(lambda url: _ask(caller, url), asked), strict=True))
        foreign = [
            Problem(
                where=url,
                what=f"belongs to cluster {hex_id(status.cluster_id)}, not {hex_id(cluster_id)}",
                hint="see: imagegen status",
            )
            for url, (status, _, _) in answers.items()
            if status is not None and status.cluster_id != cluster_id
        ]
        if foreign:
            raise ProblemsError(foreign)
        lists = [members for _, members, _ in answers.values() if members]
        if not lists and time.monotonic() < end:
            # With the leader lost, the others take some seconds to elect another.
            sleep(0.5)
            continue
        if not lists:
            raise ProblemsError(
                Problem(
                    where=url,
                    what=trouble,
                    hint="no member has a quorum, and without one nothing can be changed. Start "
                    "enough of them; if their disks are lost, restore a snapshot: imagegen build "
                    "--from-snapshot FILE --new-cluster",
                )
                for url, (_, _, trouble) in answers.items()
            )
        listed = {url: None for members in lists for m in members for url in m.client_urls}
        if listed.keys() <= asked.keys() and len(set(map(frozenset, lists))) == 1:
            break
        if listed.keys() <= asked.keys() and time.monotonic() > end:
            raise ImagegenError(
                "its members do not agree on who belongs to it",
                where=hex_id(cluster_id),
                hint="wait until it has settled, then run this again",
            )
        sleep(0 if listed.keys() - asked.keys() else 0.5)
        asked |= listed
    known = {s.member_id: (url, s) for url, (s, _, _) in answers.items() if s is not None}
    return View(
        cluster_id=cluster_id,
        members=lists[0],
        statuses={number: status for number, (_, status) in known.items()},
        urls={number: url for number, (url, _) in known.items()},
        healthy=frozenset(
            status.member_id for status, members, _ in answers.values() if status and members
        ),
        troubles={url: trouble for url, (_, _, trouble) in answers.items() if trouble},
    )


def _ask(caller: Caller, url: str) -> tuple[Status | None, tuple[ListedMember, ...], str]:
    """How a member is, whom it lists if it has a quorum and a vote, and what is amiss."""
    try:
        status = caller.status(url)
        if status.is_learner:
            return status, (), ""
        # /health first: etcd 3.4 lists members from memory, and after a read
        # that took a quorum its memory is no older than our question.
        if not caller.is_healthy(url):
            return status, (), "it answers, but it has no quorum, or an alarm is raised"
        members = caller.membership(url).members
    except UnreachableError as error:
        return None, (), error.problems[0].what
    except RefusedError as error:
        return None, (), error.message
    return status, tuple(sorted(members, key=lambda m: m.member_id)), ""


# --- deciding -------------------------------------------------------------------------


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


# --- doing ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a step is done with: who asks, and whoever wants to know of it."""

    caller: Caller = field(repr=False)
    say: Callable[[str], None]
    sleep: Callable[[float], None]


def remove(hands: Hands, view: View, step: Step) -> None:
    """Take a member off the list; that it is off already is as good."""
    url = view.ask(but=step.member_id)
    try:
        _settled(hands, lambda: hands.caller.remove(url, step.member_id))
    except RefusedError as error:
        if "not found" not in error.message and "been removed" not in error.message:
            raise
    hands.say(f"removed member {hex_id(step.member_id)}")


def move_leader(hands: Hands, view: View, step: Step) -> None:
    """Have the leader hand over, and wait until the other leads."""
    heir = view.urls[step.member_id]
    hands.caller.move_leader(view.urls[view.leader], step.member_id)
    end = time.monotonic() + SETTLE
    while hands.caller.status(heir).leader != step.member_id:
        if time.monotonic() > end:
            raise ImagegenError(
                f"{hex_id(step.member_id)} did not become leader",
                where=heir,
                hint="run this again: it looks at the cluster first",
            )
        hands.sleep(0.2)
    hands.say(f"member {hex_id(step.member_id)} leads now")


def add(hands: Hands, view: View, subject: Subject) -> tuple[int, tuple[ListedMember, ...]]:
    """List the member as a learner: its ID, and everybody who is listed then."""
    learner, listing = _settled(
        hands, lambda: hands.caller.add_learner(view.ask(), (subject.peer_url,))
    )
    hands.say(f"added {subject.peer_url} as learner {hex_id(learner.member_id)}")
    return learner.member_id, listing.members


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


def promote(hands: Hands, url: str, member_id: int) -> bool:
    """Give a learner its vote; False as long as it has not caught up."""
    try:
        _settled(hands, lambda: hands.caller.promote(url, member_id))
    except RefusedError as error:
        if "in sync" in error.message:
            return False
        if "only promote a learner" not in error.message:
            raise
    hands.say(f"promoted member {hex_id(member_id)}: it has a vote")
    return True


def _settled(hands: Hands, change: Callable[[], T]) -> T:
    """Make a change, again for as long as etcd finds its connections too young for it."""
    end = time.monotonic() + SETTLE
    while True:
        try:
            return change()
        except RefusedError as error:
            if "unhealthy cluster" not in error.message or time.monotonic() > end:
                raise
        hands.sleep(0.5)
