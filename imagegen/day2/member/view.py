"""A running cluster as its members answer: whom they list, and how each is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from imagegen.base.problems import ImagegenError, Problem, ProblemsError
from imagegen.cluster.cluster import hex_id
from imagegen.live.client import Caller, ListedMember, RefusedError, Status, UnreachableError

#: Seconds for members to agree on who leads, and on who they are: a lagging one of etcd 3.4
#: answers from memory.
AGREE = 10.0


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
