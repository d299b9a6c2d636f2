"""Changing the list of members, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import hex_id
from imagegen.day2.member.changes import Step, Subject
from imagegen.day2.member.view import View
from imagegen.live.client import Caller, ListedMember, RefusedError

T = TypeVar("T")


#: Seconds: etcd takes no change before all its connections have stood for five.
SETTLE = 30.0


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
